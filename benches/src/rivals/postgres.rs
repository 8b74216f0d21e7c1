//! A queue of trials in one PostgreSQL server on loopback, written as well as we can: `FOR UPDATE SKIP LOCKED`, one
//! transaction for each step, prepared statements, group commit by many connections, its own load generator in C.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

/// Where packages put what is not on the path.
const PACKAGED: &str = "/usr/lib/postgresql";
/// The user that Debian's package makes: the server refuses to be run by root.
const USER: &str = "postgres";

const TABLES: &str = include_str!("queue-tables.sql");
const LIFE: &str = include_str!("queue-life.sql");

/// A server that ends with this value.
pub(crate) struct Postgres {
    programs: PathBuf,
    folder: PathBuf,
}

impl Postgres {
    /// Starts a server with its data in `folder`; `None`, with a sentence, where PostgreSQL is not installed.
    ///
    /// # Errors
    /// Where it is and does not start.
    pub(crate) fn start(folder: &Path) -> Result<Option<Self>> {
        let Some(programs) = programs() else {
            println!("  PostgreSQL is not installed (Debian: postgresql-15): left out");
            return Ok(None);
        };
        std::fs::create_dir(folder)?;
        let this = Self { programs, folder: folder.to_owned() };
        if rustix::process::geteuid().is_root() {
            for owned in [folder, folder.parent().unwrap_or(folder)] {
                std::fs::set_permissions(owned, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
            }
            ensure!(Command::new("chown").arg(USER).arg(folder).status()?.success(), "cannot give {USER} its folder");
        }
        let data = this.data();
        this.run("initdb", &["-D", &data, "-A", "trust", "-U", USER, "--no-sync"])?;
        // Flushes as it is made; with its own memory for what it is given here, and no names looked up.
        let settings = format!(
            "-c listen_addresses='' -c unix_socket_directories='{}' -c shared_buffers=512MB -c max_connections=256 \
             -c max_wal_size=8GB -c checkpoint_timeout=30min",
            folder.display()
        );
        let log = folder.join("log").to_string_lossy().into_owned();
        this.run("pg_ctl", &["-D", &data, "-l", &log, "-w", "-o", &settings, "start"])?;
        Ok(Some(this))
    }

    /// Lives of trials per second: `clients` connections, each with one trial after the other, for a time.
    ///
    /// # Errors
    /// Where a step fails, or steps are missing in the end.
    pub(crate) fn lives(&self, clients: u32, time: Duration) -> Result<f64> {
        let (tables, life) = (self.folder.join("tables.sql"), self.folder.join("life.sql"));
        std::fs::write(&tables, TABLES)?;
        std::fs::write(&life, LIFE)?;
        let (tables, life) = (tables.to_string_lossy(), life.to_string_lossy());
        self.sql(&["-q", "-f", &tables])?;
        let (clients, seconds) = (clients.to_string(), time.as_secs().to_string());
        let host = self.host();
        let args = ["-h", &host, "-U", USER, "-n", "-M", "prepared", "-c", &clients, "-j", "2", "-T", &seconds];
        self.run("pgbench", &[&args[..], &["-f", &life, USER]].concat())?;
        let count = |query: &str| -> Result<f64> { Ok(self.sql(&["-t", "-A", "-c", query])?.trim().parse()?) };
        let ended = count("select count(*) from trials where state = 2")?;
        let reported = count("select count(*) from trials join reports on trial = id where state = 2")?;
        ensure!(reported == ended * 10.0, "{ended} trials have ended after {reported} reports");
        Ok(ended / time.as_secs_f64())
    }

    /// A new database; where SQLAlchemy finds it.
    ///
    /// # Errors
    /// Where it exists.
    pub(crate) fn database(&self, name: &str) -> Result<String> {
        self.sql(&["-q", "-c", &format!("create database {name}")])?;
        Ok(format!("postgresql+psycopg2://{USER}@/{name}?host={}", self.folder.display()))
    }

    fn sql(&self, args: &[&str]) -> Result<String> {
        let host = self.host();
        self.run("psql", &[&["-h", &host, "-U", USER, "-v", "ON_ERROR_STOP=1"], args].concat())
    }

    fn host(&self) -> String {
        self.folder.to_string_lossy().into_owned()
    }

    fn data(&self) -> String {
        self.folder.join("data").to_string_lossy().into_owned()
    }

    fn run(&self, program: &str, args: &[&str]) -> Result<String> {
        let program = self.programs.join(program);
        let mut command = if rustix::process::geteuid().is_root() {
            let mut command = Command::new("setpriv");
            command.args(["--reuid", USER, "--regid", USER, "--clear-groups"]).arg(&program);
            command
        } else {
            Command::new(&program)
        };
        // The server keeps what it inherits: a pipe would never end.
        let output = if program.ends_with("pg_ctl") {
            command.args(args).stdout(Stdio::null()).stderr(Stdio::null()).status().map(|status| (status, Vec::new()))
        } else {
            command.args(args).output().map(|output| (output.status, [output.stdout, output.stderr].concat()))
        };
        let (status, said) = output.with_context(|| format!("cannot start {}", program.display()))?;
        let said = String::from_utf8_lossy(&said).into_owned();
        ensure!(status.success(), "{} {args:?} ended with {status}: {said}", program.display());
        Ok(said)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // It goes with the folder anyway.
        let _stopped = self.run("pg_ctl", &["-D", &self.data(), "-m", "immediate", "stop"]);
    }
}

/// The folder of the newest server's programs.
fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir(PACKAGED).ok()?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let newest = versions.filter_map(|version| version.parse::<u32>().ok()).max()?;
    let folder = Path::new(PACKAGED).join(newest.to_string()).join("bin");
    folder.join("pgbench").is_file().then_some(folder)
}
