//! What the command knows before it is told: flag > environment > `./.heats/config.toml` (walking up) > the current
//! context > `/etc/heats/*.toml` > default. Every setting remembers where it came from.

mod file;
mod live;
mod trust;
mod world;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use heats_agent::CheckpointStorage;
use heats_agent::containers::{Choice, Runtime};
use heats_agent::inventory::{self, Gpus, rendezvous};
use heats_agent::{BusyGpus, Cgroups};
use heats_domain::resources::Rendezvous;

use crate::exit::Failure;
use crate::output::Format;

pub use live::Live;
pub use world::World;

/// The name of the data directory that `run` and `dev` make, and of the folder that holds `config.toml`.
pub const FOLDER: &str = ".heats";
/// Where a coordinator on this machine listens unless told otherwise.
pub const ADDRESS: &str = "127.0.0.1:7177";

/// A setting.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Key {
    /// The coordinators' addresses.
    Address,
    /// How long an unavailable cluster is waited for.
    Patience,
    /// The form of output.
    Output,
    /// Whether there are colours.
    Color,
    /// Where `run` and `dev` keep everything.
    DataDir,
    /// The file of the certificate authority that vouches for the coordinators; without it, plain text is spoken.
    Ca,
    /// The file of one's own certificate.
    Certificate,
    /// The file of its private key.
    Private,
    /// A bearer token.
    Token,
    /// The file that holds one.
    TokenFile,
    /// Which GPUs are offered.
    Gpus,
    /// What this machine's agents say of it.
    Labels,
    /// What becomes of GPUs that others use.
    BusyGpus,
    /// Whether trials get control groups.
    Cgroups,
    /// What runs containers.
    ContainerRuntime,
    /// Where agents that start here keep checkpoints.
    Checkpoints,
    /// Where other machines reach the agents that start here.
    GangAddress,
    /// The ports at which they do.
    GangPorts,
}

impl Key {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 18] = [
        Self::Address,
        Self::Patience,
        Self::Output,
        Self::Color,
        Self::DataDir,
        Self::Ca,
        Self::Certificate,
        Self::Private,
        Self::Token,
        Self::TokenFile,
        Self::Gpus,
        Self::Labels,
        Self::BusyGpus,
        Self::Cgroups,
        Self::ContainerRuntime,
        Self::Checkpoints,
        Self::GangAddress,
        Self::GangPorts,
    ];

    /// Its name in files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Patience => "patience",
            Self::Output => "output",
            Self::Color => "color",
            Self::DataDir => "data_dir",
            Self::Ca => "ca",
            Self::Certificate => "cert",
            Self::Private => "key",
            Self::Token => "token",
            Self::TokenFile => "token_file",
            Self::Gpus => "gpus",
            Self::Labels => "labels",
            Self::BusyGpus => "busy_gpus",
            Self::Cgroups => "cgroups",
            Self::ContainerRuntime => "container_runtime",
            Self::Checkpoints => "checkpoints",
            Self::GangAddress => "gang_address",
            Self::GangPorts => "gang_ports",
        }
    }

    /// The environment variable.
    pub const fn variable(self) -> &'static str {
        match self {
            Self::Address => "HEATS_ADDRESS",
            Self::Patience => "HEATS_PATIENCE",
            Self::Output => "HEATS_OUTPUT",
            Self::Color => "HEATS_COLOR",
            Self::DataDir => "HEATS_DATA_DIR",
            Self::Ca => "HEATS_CA",
            Self::Certificate => "HEATS_CERT",
            Self::Private => "HEATS_KEY",
            Self::Token => "HEATS_TOKEN",
            Self::TokenFile => "HEATS_TOKEN_FILE",
            Self::Gpus => "HEATS_GPUS",
            Self::Labels => "HEATS_LABELS",
            Self::BusyGpus => "HEATS_BUSY_GPUS",
            Self::Cgroups => "HEATS_CGROUPS",
            Self::ContainerRuntime => "HEATS_CONTAINER_RUNTIME",
            Self::Checkpoints => "HEATS_CHECKPOINTS",
            Self::GangAddress => "HEATS_GANG_ADDRESS",
            Self::GangPorts => "HEATS_GANG_PORTS",
        }
    }

    const fn default(self) -> &'static str {
        match self {
            Self::Address => ADDRESS,
            Self::Patience => "30s",
            Self::Output => "table",
            Self::Color => "auto",
            Self::DataDir => FOLDER,
            Self::Ca | Self::Certificate | Self::Private | Self::Token | Self::TokenFile | Self::Labels => "",
            Self::GangAddress => "",
            Self::GangPorts => rendezvous::PORTS,
            Self::Gpus | Self::Cgroups | Self::ContainerRuntime => "auto",
            Self::BusyGpus => "offer",
            Self::Checkpoints => "local",
        }
    }

    /// Whether it names a file: one that a `config.toml` names lies where that says, seen from there.
    const fn is_file(self) -> bool {
        match self {
            Self::Ca | Self::Certificate | Self::Private | Self::TokenFile => true,
            Self::Address | Self::Patience | Self::Output | Self::Color | Self::DataDir | Self::Token => false,
            Self::Gpus | Self::Labels | Self::BusyGpus | Self::Cgroups => false,
            Self::ContainerRuntime | Self::Checkpoints | Self::GangAddress | Self::GangPorts => false,
        }
    }
}

/// Where a setting came from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// The command line.
    Flag(String),
    /// The environment.
    Variable(&'static str),
    /// A `config.toml`.
    File(PathBuf),
    /// A coordinator that runs here wrote down where it listens.
    Live(PathBuf),
    /// The current context of the user's own file.
    Context(String, PathBuf),
    /// `/etc/heats`.
    System(PathBuf),
    /// Nobody said anything.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => write!(f, "flag {flag}"),
            Self::Variable(name) => write!(f, "environment {name}"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Live(path) => write!(f, "{} (runs now)", path.display()),
            Self::Context(name, path) => write!(f, "context {name} in {}", path.display()),
            Self::System(path) => write!(f, "{}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// A setting's value and where it came from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Setting {
    /// Which.
    pub key: Key,
    /// The value, as it was written.
    pub value: String,
    /// Where it came from.
    pub origin: Origin,
}

/// Every setting.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    list: Vec<Setting>,
    /// The address is that of a coordinator that runs here, and it speaks plain text.
    runs_in_plain_text: bool,
    /// What is wrong with the files, for people.
    pub warnings: Vec<String>,
}

/// What the command line says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Flags {
    /// `--address`
    pub address: Option<String>,
    /// `--patience`
    pub patience: Option<String>,
    /// `--color`
    pub color: Option<String>,
    /// `--data`
    pub data_dir: Option<PathBuf>,
    /// `--ca`
    pub ca: Option<PathBuf>,
    /// `--cert`
    pub certificate: Option<PathBuf>,
    /// `--key`
    pub private_key: Option<PathBuf>,
    /// `--token`
    pub token: Option<String>,
}

impl Settings {
    /// Reads everything that `world` offers.
    ///
    /// # Errors
    /// A file that cannot be read as TOML.
    pub fn read(flags: &Flags, world: &World) -> Result<Self, Failure> {
        let mut warnings = Vec::new();
        let layers = file::layers(world, &mut warnings)?;
        let data_dir = flags
            .data_dir
            .clone()
            .or_else(|| world.variable(Key::DataDir.variable()).map(PathBuf::from))
            .or_else(|| layers.iter().find_map(|layer| layer.get(Key::DataDir)).map(PathBuf::from));
        let find = |key: Key| -> Setting {
            let setting = |value: String, origin: Origin| Setting { key, value, origin };
            let path = |path: &Option<PathBuf>, flag| path.as_ref().map(|path| (path.display().to_string(), flag));
            let flag = match key {
                Key::Address => flags.address.clone().map(|value| (value, "--address")),
                Key::Patience => flags.patience.clone().map(|value| (value, "--patience")),
                // Their flags belong to single commands: see `Context::printer` and `host::detect`.
                Key::Output | Key::Gpus | Key::Labels | Key::BusyGpus | Key::Cgroups => None,
                Key::ContainerRuntime | Key::Checkpoints | Key::GangAddress | Key::GangPorts => None,
                Key::Color => flags.color.clone().map(|value| (value, "--color")),
                Key::DataDir => path(&flags.data_dir, "--data"),
                Key::Ca => path(&flags.ca, "--ca"),
                Key::Certificate => path(&flags.certificate, "--cert"),
                Key::Private => path(&flags.private_key, "--key"),
                Key::Token => flags.token.clone().map(|value| (value, "--token")),
                Key::TokenFile => None,
            };
            if let Some((value, name)) = flag {
                return setting(value, Origin::Flag(name.to_owned()));
            }
            if let Some(value) = world.variable(key.variable()) {
                return setting(value, Origin::Variable(key.variable()));
            }
            let live = (key == Key::Address).then(|| Live::find(world, data_dir.as_deref())).flatten();
            for layer in &layers {
                // Whoever runs here comes after this folder's own file, and before everything that is not about this folder.
                if let (false, Some((live, path))) = (layer.is_local(), &live) {
                    return setting(live.address.clone(), Origin::Live(path.clone()));
                }
                if let Some(value) = layer.get(key) {
                    return setting(value, layer.origin.clone());
                }
            }
            match live {
                Some((live, path)) => setting(live.address, Origin::Live(path)),
                None => setting(key.default().to_owned(), Origin::Default),
            }
        };
        let list: Vec<Setting> = Key::ALL.map(find).into();
        let is_live = list.iter().any(|setting| matches!(setting.origin, Origin::Live(_)));
        let runs_in_plain_text = is_live && Live::find(world, data_dir.as_deref()).is_some_and(|(live, _)| !live.tls);
        Ok(Self { list, runs_in_plain_text, warnings })
    }

    /// All of them.
    pub fn all(&self) -> &[Setting] {
        &self.list
    }

    fn get(&self, key: Key) -> &Setting {
        // `read` puts one in for each key, in their order.
        &self.list[Key::ALL.iter().position(|other| *other == key).unwrap_or_default()]
    }

    /// The coordinators' addresses.
    pub fn addresses(&self) -> Vec<String> {
        self.get(Key::Address).value.split(',').map(|address| address.trim().to_owned()).collect()
    }

    /// How long an unavailable cluster is waited for. Where nobody named a cluster, whether one runs here is
    /// known at once.
    ///
    /// # Errors
    /// A text that is not a duration.
    pub fn patience(&self) -> Result<Duration, Failure> {
        let patience = self.get(Key::Patience);
        if patience.origin == Origin::Default
            && matches!(self.get(Key::Address).origin, Origin::Default | Origin::Live(_))
        {
            return Ok(Duration::from_secs(2));
        }
        let span: heats_domain::units::Span = patience
            .value
            .parse()
            .map_err(|error| Failure::usage(format!("{error}")).hint(format!("it comes from {}", patience.origin)))?;
        Ok(span.duration())
    }

    /// The form of output.
    ///
    /// # Errors
    /// A text that is not one.
    pub fn output(&self) -> Result<Format, Failure> {
        let output = self.get(Key::Output);
        output
            .value
            .parse()
            .map_err(|error| Failure::usage(format!("{error}")).hint(format!("it comes from {}", output.origin)))
    }

    /// Whether there are colours.
    ///
    /// # Errors
    /// A text other than `auto`, `always` and `never`.
    pub fn color(&self) -> Result<anstream::ColorChoice, Failure> {
        let color = self.get(Key::Color);
        match color.value.as_str() {
            "auto" => Ok(anstream::ColorChoice::Auto),
            "always" => Ok(anstream::ColorChoice::Always),
            "never" => Ok(anstream::ColorChoice::Never),
            other => Err(Failure::usage(format!("`{other}` is not one of auto, always, never"))
                .hint(format!("it comes from {}", color.origin))),
        }
    }

    /// Which GPUs are offered: what `flag` says, where it says something.
    ///
    /// # Errors
    /// A text that names none.
    pub fn gpus(&self, flag: Option<&str>) -> Result<Gpus, Failure> {
        self.of_agents(Key::Gpus, flag)
    }

    /// What becomes of GPUs that others use, likewise.
    ///
    /// # Errors
    /// A text that says neither.
    pub fn busy_gpus(&self, flag: Option<&str>) -> Result<BusyGpus, Failure> {
        self.of_agents(Key::BusyGpus, flag)
    }

    /// Whether trials get control groups, likewise.
    ///
    /// # Errors
    /// A text that says nothing of it.
    pub fn cgroups(&self, flag: Option<&str>) -> Result<Cgroups, Failure> {
        self.of_agents(Key::Cgroups, flag)
    }

    /// What runs containers on this machine, likewise; `None` where nothing does. Asks it whether it can.
    ///
    /// # Errors
    /// A text that names no runtime, or one that was named and does not answer.
    pub fn containers(&self, flag: Option<&str>) -> Result<Option<Runtime>, Failure> {
        let choice: Choice = self.of_agents(Key::ContainerRuntime, flag)?;
        choice.find().map_err(|why| {
            Failure::failed(why).hint("`--container-runtime none` offers none; `auto` takes what is there")
        })
    }

    fn of_agents<T: FromStr<Err: fmt::Display>>(&self, key: Key, flag: Option<&str>) -> Result<T, Failure> {
        let setting = self.get(key);
        let read = |text: &str| text.parse().map_err(|error| Failure::usage(format!("{error}")));
        match flag {
            Some(text) => read(text),
            None => read(&setting.value).map_err(|failure| failure.hint(format!("it comes from {}", setting.origin))),
        }
    }

    /// What this machine's agents say of it.
    ///
    /// # Errors
    /// A text that is no list of `key=value`.
    pub fn labels(&self) -> Result<BTreeMap<String, String>, Failure> {
        let setting = self.get(Key::Labels);
        let words = setting.value.split(',').filter(|word| !word.trim().is_empty());
        inventory::labels::read(words)
            .map_err(|error| Failure::usage(error.to_string()).hint(format!("it comes from {}", setting.origin)))
    }

    /// The variables by which an agent that is started elsewhere finds the same cluster: where it is and who vouches for it,
    /// nothing of what this user may do.
    ///
    /// # Errors
    /// The authority's file has no absolute path.
    pub fn for_agents(&self) -> Result<BTreeMap<String, String>, Failure> {
        let mut variables = BTreeMap::from([(Key::Address.variable().to_owned(), self.addresses().join(","))]);
        let ca = &self.get(Key::Ca).value;
        if !ca.is_empty() {
            let path = std::path::absolute(ca).map_err(|error| Failure::failed(format!("`{ca}`: {error}")))?;
            variables.insert(Key::Ca.variable().to_owned(), path.display().to_string());
        }
        Ok(variables)
    }

    /// Where agents that start here keep checkpoints, unless their own flag says otherwise.
    ///
    /// # Errors
    /// A text that names no storage.
    pub fn checkpoints(&self) -> Result<CheckpointStorage, Failure> {
        let setting = self.get(Key::Checkpoints);
        setting.value.parse().map_err(|why| Failure::usage(why).hint(format!("it comes from {}", setting.origin)))
    }

    /// Where the members of trials that span machines meet on this one, where the flags do not say it.
    ///
    /// # Errors
    /// What is no address, or no range of ports.
    pub fn rendezvous(&self, address: Option<&str>, ports: Option<&str>) -> Result<Rendezvous, Failure> {
        let said = |flag: Option<&str>, key| flag.map_or_else(|| self.get(key).value.clone(), str::to_owned);
        let (address, ports) = (said(address, Key::GangAddress), said(ports, Key::GangPorts));
        rendezvous::read(&address, &ports).map_err(|error| Failure::usage(error.to_string()))
    }

    /// Where `run` and `dev` keep everything.
    pub fn data_dir(&self) -> PathBuf {
        PathBuf::from(&self.get(Key::DataDir).value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn write(path: &Path, text: &str) {
        std::fs::create_dir_all(path.parent().expect("has a parent")).expect("a folder");
        std::fs::write(path, text).expect("writes");
    }

    fn world(root: &Path, variables: &[(&str, &str)]) -> World {
        World {
            variables: variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            directory: root.join("work/deep"),
            home_config: root.join("home/config.toml"),
            system: root.join("etc"),
        }
    }

    fn address(flags: &Flags, world: &World) -> (String, Origin) {
        let settings = Settings::read(flags, world).expect("reads");
        let setting = settings.get(Key::Address);
        (setting.value.clone(), setting.origin.clone())
    }

    #[test]
    fn each_layer_gives_way_to_the_one_above_it() {
        let root = tempfile::tempdir().expect("a folder");
        let root = root.path();
        std::fs::create_dir_all(root.join("work/deep")).expect("a folder");
        let none = world(root, &[]);
        assert_eq!(address(&Flags::default(), &none), (ADDRESS.to_owned(), Origin::Default));

        write(&root.join("etc/a.toml"), "address = 'etc:1'\n");
        assert_eq!(address(&Flags::default(), &none).1, Origin::System(root.join("etc/a.toml")));

        write(&root.join("home/config.toml"), "context = 'lab'\n[contexts.lab]\naddress = ['lab:1', 'lab:2']\n");
        let settings = Settings::read(&Flags::default(), &none).expect("reads");
        assert_eq!(settings.addresses(), ["lab:1", "lab:2"]);
        assert_eq!(settings.get(Key::Address).origin, Origin::Context("lab".into(), root.join("home/config.toml")));

        let here = Live { address: "127.0.0.1:9".into(), pid: std::process::id(), tls: false };
        here.write(&root.join("work/.heats")).expect("writes");
        assert_eq!(address(&Flags::default(), &none).1, Origin::Live(root.join("work/.heats/address")));

        write(&root.join("work/.heats/config.toml"), "address = 'file:1'\n");
        assert_eq!(address(&Flags::default(), &none).1, Origin::File(root.join("work/.heats/config.toml")));

        let variables = world(root, &[("HEATS_ADDRESS", "env:1")]);
        assert_eq!(address(&Flags::default(), &variables).1, Origin::Variable("HEATS_ADDRESS"));
        let flags = Flags { address: Some("flag:1".into()), ..Flags::default() };
        assert_eq!(address(&flags, &variables).0, "flag:1");
    }

    #[test]
    fn a_coordinator_that_is_gone_leaves_no_address() {
        let root = tempfile::tempdir().expect("a folder");
        std::fs::create_dir_all(root.path().join("work/deep")).expect("a folder");
        // Above the largest process id of any system.
        let gone = Live { address: "127.0.0.1:9".into(), pid: 0x3fff_ffff, tls: false };
        gone.write(&root.path().join("work/.heats")).expect("writes");
        assert_eq!(address(&Flags::default(), &world(root.path(), &[])).1, Origin::Default);
    }

    #[test]
    fn labels_are_a_table_of_a_file_or_a_list() {
        let root = tempfile::tempdir().expect("a folder");
        std::fs::create_dir_all(root.path().join("work/deep")).expect("a folder");
        write(&root.path().join("etc/a.toml"), "gpus = 'none'\n[labels]\nrack = 'b3'\nslot = 4\n");
        let labels = |variables: &[(&str, &str)]| {
            Settings::read(&Flags::default(), &world(root.path(), variables)).expect("reads").labels()
        };
        let pairs = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        assert_eq!(labels(&[]).expect("reads"), pairs(&[("rack", "b3"), ("slot", "4")]));
        assert_eq!(labels(&[("HEATS_LABELS", "rack=b4")]).expect("reads"), pairs(&[("rack", "b4")]));
        let failure = labels(&[("HEATS_LABELS", "b4")]).expect_err("is no label");
        assert!(failure.hint.expect("is given").contains("HEATS_LABELS"), "where it comes from");
        let settings = Settings::read(&Flags::default(), &world(root.path(), &[])).expect("reads");
        assert_eq!(settings.gpus(None).expect("reads"), Gpus::None);
        assert_eq!(settings.gpus(Some("auto")).expect("reads"), Gpus::Auto, "the flag is stronger");
        assert!(settings.gpus(Some("three")).is_err());
    }

    #[test]
    fn an_unknown_key_is_warned_about_and_bad_toml_is_an_error() {
        let root = tempfile::tempdir().expect("a folder");
        std::fs::create_dir_all(root.path().join("work/deep")).expect("a folder");
        let file = root.path().join("work/.heats/config.toml");
        write(&file, "adress = 'x:1'\n");
        let settings = Settings::read(&Flags::default(), &world(root.path(), &[])).expect("reads");
        assert!(settings.warnings[0].contains("did you mean `address`"), "{:?}", settings.warnings);
        write(&file, "address = \n");
        assert!(Settings::read(&Flags::default(), &world(root.path(), &[])).is_err());
    }
}
