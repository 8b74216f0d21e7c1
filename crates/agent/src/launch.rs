//! What a trial is given: arguments, environment variables, working folder, files. Starts nothing.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use heats_domain::command::{self, Trial};
use heats_domain::spec::Env;
use heats_domain::{ArchiveName, Checkpoint, Digest, Grant, NotAName, Params, SweepSpec};
use heats_wire::v1;

use crate::artifacts;
use crate::attempt::{AttemptDir, Launch, Record};
use crate::cgroup::Group;
use crate::checkpoints::Found;
use crate::containers::{self, Contained, Image, Mount};
use crate::env::Environment;
use crate::gpus::Gpus;
use crate::key::Key;
use crate::paths::Paths;
use crate::storage::Stores;
use crate::warm::Recipe;

/// Why an attempt cannot be started: what the coordinator sent cannot be run here.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The specification is not one that this agent reads.
    #[error("the sweep's specification cannot be read: {0}; is the agent older than the coordinator?")]
    Spec(#[from] serde_json::Error),
    /// The code has no name.
    #[error(transparent)]
    Code(#[from] NotAName),
    /// There is no folder to run in.
    #[error(
        "the folder `{0}` is not on this machine: write `code: {{ path: . }}` into the sweep file, and submit it again; its \
         code is then sent along"
    )]
    NoFolder(PathBuf),
    /// The command is not a template.
    #[error("`command` cannot be filled in: {0}")]
    Command(#[from] command::Unclosed),
}

/// What is to be run, with what it needs, before anything is written.
#[derive(Clone, Debug)]
pub struct Order {
    /// Which attempt.
    pub key: Key,
    /// The sweep's specification.
    pub spec: SweepSpec,
    /// The sweep's name.
    pub sweep_name: String,
    /// The configuration.
    pub params: Params,
    /// What the lease grants.
    pub grant: Grant,
    /// The trial's seed.
    pub seed: u64,
    /// The sweep file's folder.
    pub base_dir: PathBuf,
    /// The checkpoint to go on from.
    pub from: Option<Checkpoint>,
    /// It is a fork of another trial: from the beginning it would be something else, so it is not started then.
    pub forked: bool,
    /// The archive of its code; `None` where it runs in the sweep's folder as it is.
    pub code: Option<ArchiveName>,
    /// The environments that its sweep names already.
    pub known: Vec<Digest>,
    /// Its part in an attempt that spans machines.
    pub gang: Option<v1::Gang>,
    /// The sizes of the artifacts that its trial keeps already, by their names.
    pub keeps: BTreeMap<String, u64>,
}

impl Order {
    /// Reads what the coordinator sent.
    ///
    /// # Errors
    /// Where the specification is not one.
    pub fn of(key: Key, run: v1::Run) -> Result<Self, LaunchError> {
        let v1::Run {
            key: _,
            sweep_name,
            params,
            grant,
            seed,
            spec,
            base_dir,
            resume_step: _,
            from,
            forked,
            code,
            known,
            gang,
            keeps,
        } = run;
        Ok(Self {
            key,
            spec: serde_json::from_str(&spec)?,
            sweep_name,
            params: params.unwrap_or_default(),
            grant: grant.unwrap_or_default(),
            seed,
            base_dir: base_dir.into(),
            from,
            forked,
            code: if code.is_empty() { None } else { Some(code.parse()?) },
            known,
            gang,
            keeps: keeps.into_iter().map(|kept| (kept.name, kept.bytes)).collect(),
        })
    }

    /// Which member of its attempt it is; 0 where there is only one.
    pub fn rank(&self) -> u32 {
        self.gang.as_ref().map_or(0, |gang| gang.rank)
    }

    /// The checkpoint that it goes on from. A member of another rank than 0 has it where its storage is reached from here.
    pub fn checkpoint(&self, stores: &Stores) -> Option<&Checkpoint> {
        self.from.as_ref().filter(|from| self.rank() == 0 || stores.at(&from.place).is_some())
    }

    /// The folder of the code on the machine that submitted it: where trials run that bring none along.
    pub fn code_dir(&self) -> PathBuf {
        match self.spec.code.as_ref().and_then(|code| code.path.as_ref()) {
            Some(path) => self.base_dir.join(path),
            None => self.base_dir.clone(),
        }
    }

    /// Where the trial runs: in a working copy of its code in its attempt's folder, or in the sweep's own folder.
    pub fn cwd(&self, dir: &AttemptDir) -> PathBuf {
        if self.code.is_some() { dir.work() } else { self.code_dir() }
    }

    /// The environment that it asks for. A requirements file that lies in the code came along: it is the one in `tree`.
    pub fn env(&self, tree: Option<&Path>) -> Option<Env> {
        match (&self.spec.env, tree) {
            (Some(Env::Python(file)), Some(tree)) => {
                let file = normal(&self.base_dir.join(file));
                let here =
                    file.strip_prefix(normal(&self.code_dir())).map_or_else(|_| file.clone(), |file| tree.join(file));
                Some(Env::Python(here.display().to_string()))
            }
            (env, _) => env.clone(),
        }
    }

    /// The program that it starts, as its command names it.
    pub fn program(&self) -> &str {
        self.spec.command.first().map_or("", String::as_str)
    }

    /// The record of the attempt, which goes on from a checkpoint where there is one, and its parameters file.
    ///
    /// # Errors
    /// Where the command cannot be filled in.
    pub fn record(
        &self,
        house: &House<'_>,
        environment: &Environment,
        resume: Option<&Found>,
    ) -> Result<(Record, Vec<u8>), LaunchError> {
        let dir = AttemptDir::at(house.paths.attempt(self.key));
        let params_file = dir.params().display().to_string();
        let trial = Trial {
            number: self.key.trial.number,
            seed: self.seed,
            sweep: &self.sweep_name,
            args_json_file: &params_file,
        };
        let argv = command::expand(&self.spec.command, &self.params, trial)?;
        let checkpoints = house.paths.checkpoints(self.key);
        let env = self.variables(house, environment, &dir, resume);
        let launch = Launch { argv, cwd: self.cwd(&dir), env, cleanup: Vec::new() };
        let launch = match &environment.image {
            Some(image) => self.contained(house, image, launch, &dir, resume).wrap(),
            None => launch,
        };
        let run = &self.spec.run;
        let name = Digest::of_environment(&environment.found);
        // Nothing has to be measured but by rank 0.
        let objectives = if self.rank() == 0 { self.spec.objectives() } else { &[] };
        let mut metrics = objectives.iter().map(|objective| objective.metric().to_owned());
        let record = Record {
            sweep_name: self.sweep_name.clone(),
            objective: metrics.next().filter(|name| !name.is_empty()),
            others: metrics.collect(),
            timeout_ms: run.timeout.map(|timeout| timeout.ms),
            stop_grace_ms: run.stop_grace.ms,
            cpus: self.grant.cpus,
            gpus: self.grant.gpus.clone(),
            group: house.group.clone(),
            socket: house.socket.to_owned(),
            checkpoints,
            began_with: resume.map(|found| found.path.clone()),
            environment: environment.found.summary.clone(),
            environment_name: Some(name),
            found: (!self.known.contains(&name)).then(|| environment.found.as_ref().clone()),
            launch,
            rank: self.rank(),
            keeps: self.keeps.clone(),
        };
        let mut params = serde_json::to_vec(&self.params)?;
        params.push(b'\n');
        Ok((record, params))
    }

    /// What the template is made of that it is forked from, where its sweep asks for a warm start. Of code that came along, `tree`
    /// is where it is.
    pub fn recipe(
        &self,
        launch: &Launch,
        house: &House<'_>,
        environment: &Environment,
        tree: Option<&Path>,
    ) -> Option<Recipe> {
        let [program, script, ..] = launch.argv.as_slice() else { return None };
        self.spec.run.warm.then(|| Recipe {
            program: program.clone(),
            script: script.clone(),
            folder: tree.map_or_else(|| self.code_dir(), Path::to_owned),
            // It must touch no GPU: none is leased to it.
            env: self.surroundings(house, environment, &[]),
            environment: Digest::of_environment(&environment.found),
            imports: self.spec.run.imports.clone(),
        })
    }

    /// The same in a container, with all of the machine that the protocol promises, under the same paths.
    fn contained<'a>(
        &self,
        house: &House<'_>,
        image: &'a Image,
        mut launch: Launch,
        dir: &AttemptDir,
        resume: Option<&Found>,
    ) -> Contained<'a> {
        // The agent's own variables are not the container's, but these are every trial's.
        for (name, value) in [("PYTHONUNBUFFERED", "1".to_owned()), ("PYTHONPATH", house.python.display().to_string())]
        {
            launch.env.entry(name.to_owned()).or_insert(value);
        }
        let written =
            [dir.path().to_owned(), house.paths.checkpoints(self.key), house.paths.output(self.key, self.rank())];
        let written = written.into_iter().chain(self.code.is_none().then(|| self.code_dir()));
        let data = self.spec.data.iter().map(|data| self.base_dir.join(&data.path));
        let sockets = house.socket.parent().map(Path::to_owned);
        let own = [Some(house.python.to_owned()), house.bin.map(Path::to_owned), sockets];
        let read = own.into_iter().flatten().chain(resume.map(|found| found.path.clone())).chain(data);
        // What may be written may be so although it is read as well. In their order, the outer come before the inner.
        let mounts: BTreeMap<PathBuf, bool> =
            read.map(|path| (normal(&path), false)).chain(written.map(|path| (normal(&path), true))).collect();
        Contained {
            image,
            name: containers::name(house.socket),
            launch,
            mounts: mounts.into_iter().map(|(path, writable)| Mount { path, writable }).collect(),
            gpus: house.gpus.handles(&self.grant.gpus),
            memory: self.grant.memory,
            user: (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw()),
        }
    }

    fn variables(
        &self,
        house: &House<'_>,
        environment: &Environment,
        dir: &AttemptDir,
        resume: Option<&Found>,
    ) -> BTreeMap<String, String> {
        let path = |path: &Path| path.display().to_string();
        let mut env = self.surroundings(house, environment, &self.grant.gpus);
        let mut set = |name: &str, value: String| {
            env.insert(name.to_owned(), value);
        };
        for (name, value) in self.params.iter() {
            set(&variable(name), value.to_string());
        }
        set("HEATS_SWEEP", self.sweep_name.clone());
        set("HEATS_TRIAL", self.key.trial.number.to_string());
        set("HEATS_ATTEMPT", self.key.attempt.to_string());
        set("HEATS_SEED", self.seed.to_string());
        set("HEATS_PARAMS_FILE", path(&dir.params()));
        set("HEATS_METRICS_FILE", path(&dir.metrics()));
        set("HEATS_API_SOCK", path(house.socket));
        set("HEATS_CHECKPOINT_DIR", path(&house.paths.checkpoints(self.key)));
        set("HEATS_ARTIFACT_DIR", path(&artifacts::folder(&house.paths.checkpoints(self.key))));
        set("HEATS_OUTPUT_DIR", path(&house.paths.output(self.key, self.rank())));
        if let Some(Found { step, path: from }) = resume {
            set("HEATS_RESUME_FROM", path(from));
            set("HEATS_RESUME_STEP", step.to_string());
        }
        if let Some(v1::Gang { rank, nodes, address, port }) = &self.gang {
            set("MASTER_ADDR", address.clone());
            set("MASTER_PORT", port.to_string());
            set("WORLD_SIZE", nodes.to_string());
            set("NODE_RANK", rank.to_string());
        }
        env
    }

    /// The variables that all trials of its sweep have, as long as they are granted the same processors and these GPUs.
    fn surroundings(&self, house: &House<'_>, environment: &Environment, gpus: &[u32]) -> BTreeMap<String, String> {
        let mut env: BTreeMap<String, String> = BTreeMap::new();
        let mut set = |name: &str, value: String| {
            env.insert(name.to_owned(), value);
        };
        if self.grant.cpus > 0 && std::env::var_os("OMP_NUM_THREADS").is_none() {
            // Else every trial's numeric libraries start a thread per processor of the machine.
            set("OMP_NUM_THREADS", self.grant.cpus.to_string());
        }
        for (name, value) in &environment.variables {
            set(name, value.clone());
        }
        for (name, value) in &self.spec.run.env {
            set(name, value.clone());
        }
        for (name, list) in house.gpus.visible(gpus).into_iter().flatten() {
            set(name, list);
        }
        // A list that nobody changed is the agent's own: see `common`.
        for (name, folder) in lists(house.python, house.bin) {
            if let Some(list) = env.get_mut(name) {
                *list = appended(Some(list), folder);
            }
        }
        if let Some(bin) = house.bin {
            env.insert("HEATS_BIN".to_owned(), bin.display().to_string());
        }
        env
    }
}

/// What the agent itself gives to every trial.
#[derive(Clone, Debug)]
pub struct House<'a> {
    /// Where things are.
    pub paths: &'a Paths,
    /// The attempt's socket.
    pub socket: &'a Path,
    /// The folder with the Python package.
    pub python: &'a Path,
    /// The program `heats`, where the agent knows it.
    pub bin: Option<&'a Path>,
    /// The machine's GPUs.
    pub gpus: &'a Gpus,
    /// The attempt's control group.
    pub group: Option<Group>,
}

/// The same path without `.` and `..`, as far as its words tell.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => _ = normal.pop(),
            Component::RootDir | Component::Normal(_) | Component::Prefix(_) => normal.push(part),
        }
    }
    normal
}

/// `lr` becomes `HEATS_PARAM_LR`, `model.width` becomes `HEATS_PARAM_MODEL_WIDTH`.
fn variable(name: &str) -> String {
    let name: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect();
    format!("HEATS_PARAM_{name}")
}

/// What every trial of an agent is given, unless its sweep or its environment says otherwise. The process that trials
/// are forked from has it already: a trial whose `PATH` is its parent's starts at half the cost.
pub fn common(python: &Path, bin: Option<&Path>) -> BTreeMap<&'static str, String> {
    // Python keeps lines back when its output is no terminal: metrics would come late.
    let unbuffered = ("PYTHONUNBUFFERED", "1".to_owned());
    let lists = lists(python, bin).map(|(name, folder)| (name, appended(std::env::var(name).ok().as_deref(), folder)));
    std::iter::once(unbuffered).chain(lists).collect()
}

/// Lists of folders, and what the agent adds to each.
fn lists<'a>(python: &'a Path, bin: Option<&'a Path>) -> impl Iterator<Item = (&'static str, &'a Path)> {
    let bin = bin.and_then(Path::parent).map(|folder| ("PATH", folder));
    bin.into_iter().chain([("PYTHONPATH", python)])
}

/// Adds a folder to a list of folders, last: what was found before is found as before.
fn appended(list: Option<&str>, folder: &Path) -> String {
    let before = list.filter(|list| !list.is_empty()).map(str::to_owned);
    before.into_iter().chain([folder.display().to_string()]).collect::<Vec<_>>().join(":")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::containers::Runtime;
    use crate::gpus::testing;
    use crate::inventory::Maker;
    use heats_domain::{SweepId, TrialId, Value};

    fn order(attempt: u32) -> Order {
        let spec = serde_json::json!({
            "command": ["python", "t.py", "${args}", "${seed}"],
            "code": {"path": "src"},
            "run": {"env": {"A": "b", "HEATS_SEED": "no", "PYTHONPATH": "/mine"}, "timeout": "2s"},
            "objective": {"minimize": "loss"}
        });
        let params: Params = [("lr", Value::Float(1e-5)), ("net.kind", Value::Str("a b".into()))].into_iter().collect();
        let run = v1::Run {
            key: None,
            sweep_name: "digits".into(),
            params: Some(params),
            grant: Some(Grant { cpus: 2, memory: 0, gpus: vec![1, 3], ..Grant::default() }),
            seed: 7,
            spec: spec.to_string(),
            base_dir: "/base".into(),
            resume_step: Some(4),
            code: String::new(),
            from: None,
            known: Vec::new(),
            forked: false,
            gang: None,
            keeps: Vec::new(),
        };
        let key = Key { trial: TrialId { sweep: SweepId::mint(1, 1), number: 12 }, attempt };
        Order::of(key, run).expect("reads")
    }

    fn record(order: &Order, root: &Path, gpus: u32) -> Record {
        record_in(&Environment::default(), order, root, gpus)
    }

    fn record_in(environment: &Environment, order: &Order, root: &Path, gpus: u32) -> Record {
        let paths = Paths::new(root, "agent").expect("makes");
        let gpus = testing::gpus((0..gpus).map(|index| testing::device(index, Maker::Fake, "")).collect());
        let house = House {
            paths: &paths,
            socket: Path::new("/s/1.sock"),
            python: Path::new("/python"),
            bin: Some(Path::new("/opt/heats/bin/heats")),
            gpus: &gpus,
            group: None,
        };
        let resume = Found { step: 4, path: "/c/step-00000004".into() };
        let resume = (order.key.attempt > 1).then_some(&resume);
        order.record(&house, environment, resume).expect("fills in").0
    }

    #[test]
    fn a_trial_is_given_what_the_protocol_promises() {
        let root = tempfile::tempdir().expect("a folder");
        let Record { launch, timeout_ms, objective, .. } = record(&order(1), root.path(), 4);
        assert_eq!(launch.argv, ["python", "t.py", "--lr=1e-5", "--net.kind=a b", "7"]);
        assert_eq!(launch.cwd, Path::new("/base/src"));
        assert_eq!((timeout_ms, objective.as_deref()), (Some(2000), Some("loss")));
        for (name, value) in [
            ("HEATS_PARAM_LR", "1e-5"),
            ("HEATS_PARAM_NET_KIND", "a b"),
            ("HEATS_SWEEP", "digits"),
            ("HEATS_TRIAL", "12"),
            ("HEATS_ATTEMPT", "1"),
            ("HEATS_SEED", "7"),
            ("HEATS_API_SOCK", "/s/1.sock"),
            ("CUDA_VISIBLE_DEVICES", "1,3"),
            ("A", "b"),
            ("PYTHONPATH", "/mine:/python"),
            ("HEATS_BIN", "/opt/heats/bin/heats"),
        ] {
            assert_eq!(launch.env.get(name).map(String::as_str), Some(value), "{name}");
        }
        assert!(!launch.env.contains_key("PATH"), "it is the agent's");
        let common = common(Path::new("/python"), Some(Path::new("/opt/heats/bin/heats")));
        assert!(common["PATH"].ends_with(":/opt/heats/bin") && common["PYTHONPATH"].ends_with("/python"));
        assert!(!launch.env.contains_key("HEATS_RESUME_FROM"));
        assert!(!record(&order(1), root.path(), 0).launch.env.contains_key("CUDA_VISIBLE_DEVICES"));
    }

    #[test]
    fn code_that_came_along_is_where_the_trial_runs_and_where_its_requirements_are() {
        let root = tempfile::tempdir().expect("a folder");
        let mut order = order(1);
        order.code = Some("ab".repeat(32).parse().expect("a name"));
        let attempt = Paths::new(root.path(), "agent").expect("makes").attempt(order.key);
        assert_eq!(record(&order, root.path(), 0).launch.cwd, attempt.join("work"));
        for (file, here) in [
            ("src/requirements.txt", "/tree/requirements.txt"),
            ("./src/a/../r.txt", "/tree/r.txt"),
            ("requirements.txt", "/base/requirements.txt"),
        ] {
            order.spec.env = Some(Env::Python(file.into()));
            assert_eq!(order.env(Some(Path::new("/tree"))), Some(Env::Python(here.into())), "{file}");
        }
        assert_eq!(order.env(None), order.spec.env);
    }

    #[test]
    fn a_member_of_a_gang_is_told_where_the_others_are_and_only_rank_0_has_to_measure() {
        let root = tempfile::tempdir().expect("a folder");
        let mut order = order(1);
        let alone = record(&order, root.path(), 0);
        assert!(!alone.launch.env.contains_key("MASTER_ADDR"));
        let mut of_rank = |rank| {
            order.gang = Some(v1::Gang { rank, nodes: 2, address: "10.0.0.6".into(), port: 29_501 });
            record(&order, root.path(), 0)
        };
        let (first, second) = (of_rank(0), of_rank(1));
        for (name, values) in [
            ("MASTER_ADDR", ["10.0.0.6", "10.0.0.6"]),
            ("MASTER_PORT", ["29501", "29501"]),
            ("WORLD_SIZE", ["2", "2"]),
            ("NODE_RANK", ["0", "1"]),
            ("HEATS_SEED", ["7", "7"]),
        ] {
            assert_eq!([&first, &second].map(|record| record.launch.env[name].as_str()), values, "{name}");
        }
        let podman = Runtime { kind: containers::Kind::Podman, program: "podman".into(), version: "4".into() };
        let image = Some(Image { runtime: podman, reference: "sha256:ab".into() });
        let environment = Environment { image, ..Environment::default() };
        let contained = record_in(&environment, &order, root.path(), 0).launch;
        let argv = contained.argv.join(" ");
        assert!(argv.contains("--network host") && argv.contains("--env MASTER_ADDR --env MASTER_PORT"), "{argv}");
        assert_eq!((contained.env["NODE_RANK"].as_str(), contained.env["WORLD_SIZE"].as_str()), ("1", "2"));
        assert_ne!(first.launch.env["HEATS_OUTPUT_DIR"], second.launch.env["HEATS_OUTPUT_DIR"]);
        assert_eq!((first.objectives(), second.objectives()), (vec!["loss".to_owned()], Vec::new()));
    }

    #[test]
    fn an_attempt_that_goes_on_from_a_checkpoint_is_told_so() {
        let root = tempfile::tempdir().expect("a folder");
        let Record { launch: Launch { env, .. }, began_with, .. } = record(&order(2), root.path(), 0);
        assert_eq!((env["HEATS_RESUME_STEP"].as_str(), env["HEATS_RESUME_FROM"].as_str()), ("4", "/c/step-00000004"));
        assert_eq!(began_with, Some("/c/step-00000004".into()), "its successor has to know which is not new");
    }
}
