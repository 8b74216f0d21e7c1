//! `heats tls`: the certificates of a cluster, made offline in a folder.
//!
//! The folder's `ca.key` makes coordinators and admins; it need not be on any machine of the cluster. See
//! docs/adr/0007 for who signs what.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use heats_tls::{Authority, AuthorityError, Issued, Who, write_private, write_public};

use crate::exit::{Exit, Failure, Outcome};
use crate::host::folder;
use crate::{hints, words};

/// Names of files in the folders that this command makes.
pub const CA: &str = "ca.pem";
const CA_KEY: &str = "ca.key";
/// The authority that vouches for agents.
pub const AGENTS_CA: &str = "agents-ca.pem";
/// Its key.
pub const AGENTS_KEY: &str = "agents-ca.key";
/// A coordinator's certificate.
pub const NODE: &str = "node.pem";
/// Its key.
pub const NODE_KEY: &str = "node.key";
/// Whose first admin it is that `init` makes.
const FIRST_ADMIN: &str = "admin";

/// The verbs about certificates.
#[derive(clap::Subcommand, Debug)]
pub enum TlsCommand {
    /// Make a cluster's certificate authorities, its coordinators' certificates, and an admin's
    Init(InitArgs),
    /// Make one certificate more, or one that expires anew
    Issue(IssueArgs),
}

/// `heats tls init`
#[derive(clap::Args, Debug)]
pub struct InitArgs {
    /// The folder to make
    #[arg(long, value_name = "DIR", default_value = "tls")]
    out: PathBuf,
    /// The cluster's name, in every certificate: a-z, 0-9, `-` and `.`
    #[arg(long, value_name = "NAME", default_value = "heats")]
    cluster: String,
    /// Each coordinator: its number, and every host name and IP address that others reach it by
    #[arg(long = "coordinator", value_name = "N=HOST[,HOST]", required = true, value_parser = coordinator)]
    coordinators: Vec<Coordinator>,
    #[command(flatten)]
    life: Life,
}

/// `heats tls issue`
#[derive(clap::Args, Debug)]
pub struct IssueArgs {
    /// The folder that `heats tls init` made
    #[arg(long, value_name = "DIR", default_value = "tls")]
    out: PathBuf,
    /// A coordinator: its number, and every host name and IP address that others reach it by
    #[arg(long = "coordinator", value_name = "N=HOST[,HOST]", value_parser = coordinator)]
    coordinators: Vec<Coordinator>,
    /// Somebody who runs the cluster
    #[arg(long = "admin", value_name = "NAME")]
    admins: Vec<String>,
    /// Somebody who runs sweeps
    #[arg(long = "user", value_name = "NAME")]
    users: Vec<String>,
    /// Replace certificates that are there; the old ones stay good until they expire
    #[arg(long)]
    renew: bool,
    #[command(flatten)]
    life: Life,
}

#[derive(clap::Args, Clone, Copy, Debug)]
struct Life {
    /// How long certificates are good for, in days
    #[arg(long, value_name = "DAYS", default_value_t = 365, value_parser = clap::value_parser!(u64).range(1..=3650))]
    days: u64,
}

impl Life {
    const fn duration(self) -> Duration {
        Duration::from_secs(self.days * 24 * 3_600)
    }
}

/// A coordinator and where it is reached.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Coordinator {
    node: u64,
    hosts: Vec<String>,
}

fn coordinator(text: &str) -> Result<Coordinator, String> {
    let form = "write N=HOST, for example 2=10.0.0.2,node-2.example";
    let (node, hosts) = text.split_once('=').ok_or(form)?;
    let node = node.trim().parse().ok().filter(|node| *node > 0).ok_or(form)?;
    let hosts: Vec<String> = hosts.split(',').map(|host| host.trim().to_owned()).collect();
    if hosts.iter().any(String::is_empty) { Err(form.to_owned()) } else { Ok(Coordinator { node, hosts }) }
}

/// Does what the verb says.
pub fn run(command: &TlsCommand) -> Outcome {
    match command {
        TlsCommand::Init(args) => init(args),
        TlsCommand::Issue(args) => issue(args),
    }
}

fn init(args: &InitArgs) -> Outcome {
    let InitArgs { out, cluster, coordinators, life } = args;
    let mut numbers: Vec<u64> = coordinators.iter().map(|coordinator| coordinator.node).collect();
    numbers.sort_unstable();
    if numbers.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(Failure::usage("two of these coordinators have the same number"));
    }
    if fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(Failure::new(
            Exit::Conflict,
            format!("{} is there already, and nothing in it is overwritten", out.display()),
        )
        .hint("`--out DIR` makes another authority; `heats tls issue` makes another certificate of this one"));
    }
    let (main, main_key) = Authority::make(cluster, "CA").map_err(|error| failure(&error))?;
    let (_, agents_key) = Authority::make(cluster, "agents CA").map_err(|error| failure(&error))?;
    let desk = Desk { out, main, agents: agents_key, life: life.duration() };
    // Everything that can be refused is, before anything is written.
    let mut folders = Vec::new();
    for Coordinator { node, hosts } in coordinators {
        folders.push(desk.coordinator(*node, hosts)?);
    }
    folders.push(desk.person(Who::Admin(FIRST_ADMIN.to_owned()))?);
    make(out)?;
    write(&out.join(CA), &main_key.certificate, Kind::Public)?;
    write(&out.join(CA_KEY), &main_key.key, Kind::Private)?;
    write(&out.join(AGENTS_CA), &desk.agents.certificate, Kind::Public)?;
    write(&out.join(AGENTS_KEY), &desk.agents.key, Kind::Private)?;
    for folder in &folders {
        folder.write()?;
    }
    let dir = out.display();
    hints::note(&format!(
        "{dir} holds the authorities of cluster `{cluster}`, the certificates of {}, and an admin's",
        words::count(coordinators.len() as u64, "coordinator")
    ));
    hints::note(&format!(
        "{dir}/{CA_KEY} makes coordinators and admins: keep it where few can read it, off the cluster's machines"
    ));
    let first = &coordinators[0];
    let host = &first.hosts[0];
    let addresses: Vec<String> = coordinators.iter().map(|one| format!("{}:7177", one.hosts[0])).collect();
    hints::next(&[
        (format!("scp -r {dir}/coordinator-{} {host}:/etc/heats/tls", first.node), "to each its own folder"),
        (
            format!("heats coordinator start --id {} --listen {host}:7177 --tls /etc/heats/tls", first.node),
            "on each, with its number and address",
        ),
        (
            format!("export HEATS_CA={dir}/admin/{CA} HEATS_CERT={dir}/admin/cert.pem HEATS_KEY={dir}/admin/key.pem"),
            "be the admin",
        ),
        (format!("heats cluster init {}", addresses.join(" ")), "once, when they run"),
    ]);
    Ok(Exit::Ok)
}

fn issue(args: &IssueArgs) -> Outcome {
    let IssueArgs { out, coordinators, admins, users, renew, life } = args;
    let main = Authority::load(&out.join(CA), &out.join(CA_KEY)).map_err(|error| failure(&error))?;
    let read = |name: &str| {
        let path = out.join(name);
        fs::read_to_string(&path).map_err(|error| Failure::usage(format!("cannot read {}: {error}", path.display())))
    };
    let agents = Issued { certificate: read(AGENTS_CA)?, key: read(AGENTS_KEY)? };
    let desk = Desk { out, main, agents, life: life.duration() };
    let mut folders = Vec::new();
    for Coordinator { node, hosts } in coordinators {
        folders.push(desk.coordinator(*node, hosts)?);
    }
    for admin in admins {
        folders.push(desk.person(Who::Admin(admin.clone()))?);
    }
    for user in users {
        folders.push(desk.person(Who::User(user.clone()))?);
    }
    if folders.is_empty() {
        return Err(Failure::usage("for whom? `--coordinator N=HOST`, `--admin NAME` or `--user NAME`"));
    }
    if let Some(folder) = folders.iter().find(|folder| !renew && folder.path.exists()) {
        return Err(Failure::new(Exit::Conflict, format!("{} is there already", folder.path.display()))
            .hint("`--renew` replaces its certificate and key"));
    }
    for folder in &folders {
        folder.write()?;
        hints::note(&format!("made {}", folder.path.display()));
    }
    hints::next(&[
        (format!("scp -r {} HOST:/etc/heats/tls", folders[0].path.display()), "to whom it is for"),
        ("kill -HUP PID".to_owned(), "a coordinator or an agent that runs reads its files again"),
    ]);
    Ok(Exit::Ok)
}

/// What certificates are made with.
struct Desk<'a> {
    out: &'a Path,
    main: Authority,
    agents: Issued,
    life: Duration,
}

/// The files for one holder.
struct Folder {
    path: PathBuf,
    files: Vec<(&'static str, String, Kind)>,
}

#[derive(Clone, Copy)]
enum Kind {
    Public,
    Private,
}

impl Desk<'_> {
    fn coordinator(&self, node: u64, hosts: &[String]) -> Result<Folder, Failure> {
        let issued = self.main.issue(Who::Coordinator(node), hosts, self.life).map_err(|error| failure(&error))?;
        let files = vec![
            (CA, self.main.certificate().to_owned(), Kind::Public),
            (AGENTS_CA, self.agents.certificate.clone(), Kind::Public),
            (AGENTS_KEY, self.agents.key.clone(), Kind::Private),
            (NODE_KEY, issued.key, Kind::Private),
            (NODE, issued.certificate, Kind::Public),
        ];
        Ok(Folder { path: self.out.join(format!("coordinator-{node}")), files })
    }

    fn person(&self, who: Who) -> Result<Folder, Failure> {
        let name = match &who {
            Who::Admin(name) if name == FIRST_ADMIN => FIRST_ADMIN.to_owned(),
            Who::Admin(name) => format!("admin-{name}"),
            Who::User(name) => format!("user-{name}"),
            Who::Coordinator(_) | Who::Agent(_) => who.to_string(),
        };
        let issued = self.main.issue(who, &[], self.life).map_err(|error| failure(&error))?;
        let files = vec![
            (CA, self.main.certificate().to_owned(), Kind::Public),
            ("key.pem", issued.key, Kind::Private),
            ("cert.pem", issued.certificate, Kind::Public),
        ];
        Ok(Folder { path: self.out.join(name), files })
    }
}

impl Folder {
    fn write(&self) -> Result<(), Failure> {
        make(&self.path)?;
        for (name, text, kind) in &self.files {
            write(&self.path.join(name), text, *kind)?;
        }
        Ok(())
    }
}

fn make(path: &Path) -> Result<(), Failure> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| folder::refused(format!("cannot make {}", path.display()), &error))
}

fn write(path: &Path, text: &str, kind: Kind) -> Result<(), Failure> {
    let written = match kind {
        Kind::Public => write_public(path, text),
        Kind::Private => write_private(path, text),
    };
    written.map_err(|error| folder::refused(format!("cannot write {}", path.display()), &error))
}

fn failure(error: &AuthorityError) -> Failure {
    Failure::usage(error.to_string())
}
