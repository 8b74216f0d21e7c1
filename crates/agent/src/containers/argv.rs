//! A command as the command that runs it in a container: pure, so that what each runtime is told can be read in a test.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{Image, Kind};
use crate::attempt::Launch;
use crate::inventory::Maker;

/// A place of this machine that is under the same path in the container.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Mount {
    /// Where it is.
    pub path: PathBuf,
    /// Whether the trial may write there.
    pub writable: bool,
}

/// What is to run in a container, and what it is given.
#[derive(Clone, Debug)]
pub struct Contained<'a> {
    /// What it runs in.
    pub image: &'a Image,
    /// The container's name: no other one on the machine has it.
    pub name: String,
    /// The command, its folder, and the variables that it gets beside the image's own.
    pub launch: Launch,
    /// What of the machine it sees, the outer before the inner.
    pub mounts: Vec<Mount>,
    /// Its GPUs, each by its maker and the driver's name for it.
    pub gpus: Vec<(Maker, String)>,
    /// Its memory in bytes; 0 for no limit.
    pub memory: u64,
    /// The user and the group that it runs as, so that what it writes is the agent's.
    pub user: (u32, u32),
}

impl Contained<'_> {
    /// The launch of the runtime that runs it.
    pub fn wrap(self) -> Launch {
        match self.image.runtime.kind {
            Kind::Docker | Kind::Podman => self.by_service(),
            Kind::Apptainer => self.by_file(),
        }
    }

    /// Docker, and podman, whose command is the same but for a few options.
    fn by_service(self) -> Launch {
        let Self { image, name, launch, mounts, gpus, memory, user: (user, group), .. } = self;
        let Launch { argv, cwd, mut env, cleanup: _ } = launch;
        let program = image.runtime.program.display().to_string();
        let is_podman = image.runtime.kind == Kind::Podman;
        let mut words = vec![program.clone()];
        let mut add = |new: &[&str]| words.extend(new.iter().map(|word| (*word).to_owned()));
        add(&["run", "--rm", "--name", &name, "--pull", "never"]);
        // As the first process of its own, a program would ignore SIGTERM unless it says otherwise.
        add(&["--init", "--network", "host", "--ipc", "host"]);
        add(&["--user", &format!("{user}:{group}")]);
        if is_podman {
            // A folder of the user's has no label that containers may read.
            add(&["--security-opt", "label=disable"]);
            // When it is removed the trial has had its time, and docker gives it no more either.
            add(&["--stop-timeout", "0"]);
            if user != 0 {
                add(&["--userns", "keep-id"]);
            }
        }
        for Mount { path, writable } in &mounts {
            let (path, ending) = (path.display(), if *writable { "" } else { ",readonly" });
            add(&["--mount", &format!("type=bind,source={path},target={path}{ending}")]);
        }
        let of = |maker| gpus.iter().filter(move |(its, _)| *its == maker).map(|(_, handle)| handle.as_str());
        if is_podman {
            of(Maker::Nvidia).for_each(|handle| add(&["--device", &format!("nvidia.com/gpu={handle}")]));
        } else if of(Maker::Nvidia).next().is_some() {
            // Read as a line of CSV: quoted, a list is one value.
            add(&["--gpus", &format!("\"device={}\"", of(Maker::Nvidia).collect::<Vec<_>>().join(","))]);
        }
        if of(Maker::Amd).next().is_some() {
            add(&["--device", "/dev/kfd", "--device", "/dev/dri"]);
        }
        if memory > 0 {
            add(&["--memory", &memory.to_string()]);
        }
        add(&["--workdir", &cwd.display().to_string()]);
        // The path of the runtime's own process stays its own.
        let path = env.remove("PATH").map(|path| format!("PATH={path}"));
        // By name: what a variable holds is nobody's business who lists the machine's processes.
        path.iter().chain(env.keys()).for_each(|variable| add(&["--env", variable]));
        let (first, rest) = argv.split_first().map_or(("", &[][..]), |(first, rest)| (first.as_str(), rest));
        add(&["--entrypoint", first, &image.reference]);
        words.extend(rest.iter().cloned());
        let cleanup = [&program, "rm", "--force", &name].map(str::to_owned).to_vec();
        Launch { argv: words, cwd, env, cleanup }
    }

    /// Apptainer, whose containers are processes of this machine like any other: they end as those do.
    fn by_file(self) -> Launch {
        let Self { image, launch, mounts, gpus, .. } = self;
        let Launch { argv, cwd, env, cleanup } = launch;
        let mut words = vec![image.runtime.program.display().to_string()];
        let mut add = |new: &[&str]| words.extend(new.iter().map(|word| (*word).to_owned()));
        add(&["exec", "--cleanenv", "--pwd", &cwd.display().to_string()]);
        for Mount { path, writable } in &mounts {
            let (path, mode) = (path.display(), if *writable { "rw" } else { "ro" });
            add(&["--bind", &format!("{path}:{path}:{mode}")]);
        }
        let has = |maker| gpus.iter().any(|(its, _)| *its == maker);
        // All of the machine's are there; the makers' variables say which of them may be used.
        if has(Maker::Nvidia) {
            add(&["--nv"]);
        }
        if has(Maker::Amd) {
            add(&["--rocm"]);
        }
        add(&[&image.reference]);
        words.extend(argv);
        let env: BTreeMap<String, String> =
            env.into_iter().map(|(name, value)| (format!("APPTAINERENV_{name}"), value)).collect();
        Launch { argv: words, cwd, env, cleanup }
    }
}

/// The name of the container of the attempt whose socket this is: both are the attempt's own.
pub fn name(socket: &Path) -> String {
    let name = socket.file_name().unwrap_or_default().to_string_lossy();
    let allowed = |c: char| if c.is_ascii_alphanumeric() || "_.-".contains(c) { c } else { '-' };
    format!("heats-{}", name.chars().map(allowed).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::super::Runtime;
    use super::*;

    fn wrapped(kind: Kind, user: u32) -> Launch {
        let program = format!("/usr/bin/{}", kind.name()).into();
        let image = Image { runtime: Runtime { kind, program, version: "1".into() }, reference: "sha256:ab".into() };
        let env = [("HEATS_SEED", "7"), ("PATH", "/mine"), ("TOKEN", "secret")];
        let launch = Launch {
            argv: ["python", "train.py", "--lr=1e-3"].map(str::to_owned).to_vec(),
            cwd: "/data/attempts/a/work".into(),
            env: env.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            cleanup: Vec::new(),
        };
        let mount = |path: &str, writable| Mount { path: path.into(), writable };
        Contained {
            image: &image,
            name: name(Path::new("/run/heats/12ab-swp_01-3@2")),
            launch,
            mounts: vec![mount("/data/attempts/a", true), mount("/sets/digits", false)],
            gpus: vec![(Maker::Nvidia, "GPU-1".into()), (Maker::Nvidia, "GPU-2".into())],
            memory: 1 << 30,
            user: (user, 100),
        }
        .wrap()
    }

    #[test]
    fn docker_is_told_all_that_a_trial_is_given_and_no_secret_where_others_see_it() {
        let Launch { argv, cwd, env, cleanup } = wrapped(Kind::Docker, 1000);
        let expected = "/usr/bin/docker run --rm --name heats-12ab-swp_01-3-2 --pull never --init --network host --ipc host \
            --user 1000:100 --mount type=bind,source=/data/attempts/a,target=/data/attempts/a \
            --mount type=bind,source=/sets/digits,target=/sets/digits,readonly --gpus \"device=GPU-1,GPU-2\" \
            --memory 1073741824 --workdir /data/attempts/a/work --env PATH=/mine --env HEATS_SEED --env TOKEN \
            --entrypoint python sha256:ab train.py --lr=1e-3";
        assert_eq!(argv.join(" "), expected);
        assert_eq!(cwd, Path::new("/data/attempts/a/work"));
        assert_eq!(env.keys().collect::<Vec<_>>(), ["HEATS_SEED", "TOKEN"], "its own path is not the trial's");
        assert_eq!(cleanup.join(" "), "/usr/bin/docker rm --force heats-12ab-swp_01-3-2");
    }

    #[test]
    fn podman_gets_devices_one_by_one_and_keeps_the_users_files_the_users() {
        let Launch { argv, cleanup, .. } = wrapped(Kind::Podman, 1000);
        let expected = "/usr/bin/podman run --rm --name heats-12ab-swp_01-3-2 --pull never --init --network host --ipc host \
            --user 1000:100 --security-opt label=disable --stop-timeout 0 --userns keep-id \
            --mount type=bind,source=/data/attempts/a,target=/data/attempts/a \
            --mount type=bind,source=/sets/digits,target=/sets/digits,readonly --device nvidia.com/gpu=GPU-1 \
            --device nvidia.com/gpu=GPU-2 --memory 1073741824 --workdir /data/attempts/a/work --env PATH=/mine \
            --env HEATS_SEED --env TOKEN --entrypoint python sha256:ab train.py --lr=1e-3";
        assert_eq!(argv.join(" "), expected);
        assert_eq!(cleanup.join(" "), "/usr/bin/podman rm --force heats-12ab-swp_01-3-2");
        assert!(!wrapped(Kind::Podman, 0).argv.contains(&"keep-id".to_owned()), "root's are root's");
    }

    #[test]
    fn apptainer_sees_no_variable_but_the_trials_and_needs_no_tidying() {
        let Launch { argv, env, cleanup, .. } = wrapped(Kind::Apptainer, 1000);
        let expected = "/usr/bin/apptainer exec --cleanenv --pwd /data/attempts/a/work \
            --bind /data/attempts/a:/data/attempts/a:rw --bind /sets/digits:/sets/digits:ro --nv sha256:ab python train.py \
            --lr=1e-3";
        assert_eq!(argv.join(" "), expected);
        let names: Vec<&String> = env.keys().collect();
        assert_eq!(names, ["APPTAINERENV_HEATS_SEED", "APPTAINERENV_PATH", "APPTAINERENV_TOKEN"]);
        assert_eq!(cleanup, [""; 0]);
    }
}
