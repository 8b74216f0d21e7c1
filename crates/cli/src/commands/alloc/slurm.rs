//! Slurm: the job that is an agent, and what `sbatch` and `squeue` are told. Nothing is kept here: which jobs there are is
//! what Slurm says, so that the command may be stopped and started again at any time.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use heats_domain::units::Span;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::exit::Failure;

/// What jobs and agents are called by, before the queue's name.
const PREFIX: &str = "heats-";
/// Slurm's commands answer within this, or not at all.
const PATIENCE: Duration = Duration::from_secs(60);

/// A queue's jobs.
#[derive(Clone, Debug)]
pub struct Queue {
    /// Its name.
    pub name: String,
    /// Where its agents keep everything, and jobs write their logs.
    pub folder: PathBuf,
    /// The program `heats`.
    pub program: PathBuf,
    /// The variables by which agents find the cluster.
    pub settings: BTreeMap<String, String>,
    /// Where the token is that lets agents join.
    pub join_file: Option<PathBuf>,
    /// How long a job may run.
    pub time_limit: Duration,
    /// How long before that its agent is told to leave.
    pub leave_before: Duration,
    /// How long an agent stays that has nothing to do.
    pub idle: Span,
    /// What `sbatch` is given besides.
    pub options: Vec<String>,
}

/// A job of a queue.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Job {
    /// Slurm's number for it.
    pub id: String,
    /// The queue's name.
    pub queue: String,
    /// As Slurm has it: `PENDING`, `RUNNING`.
    pub state: String,
}

impl Job {
    /// What its agent is called.
    pub fn agent(&self) -> String {
        format!("{PREFIX}{}-{}", self.queue, self.id)
    }

    /// Whether it waits for a machine.
    pub fn is_pending(&self) -> bool {
        matches!(self.state.as_str(), "PENDING" | "CONFIGURING" | "REQUEUED" | "REQUEUE_HOLD" | "SUSPENDED")
    }
}

/// Submits the jobs of a queue.
#[derive(Clone, Debug)]
pub struct Slurm {
    queue: Queue,
}

impl Slurm {
    /// Jobs for `queue`.
    pub const fn new(queue: Queue) -> Self {
        Self { queue }
    }

    /// The queue's name.
    pub fn name(&self) -> &str {
        &self.queue.name
    }

    /// Where its agents keep everything.
    pub fn folder(&self) -> &Path {
        &self.queue.folder
    }

    /// What `sbatch` is given; the script comes by its standard input.
    pub fn arguments(&self) -> Vec<String> {
        let Queue { name, folder, time_limit, leave_before, options, .. } = &self.queue;
        let own = [
            "--parsable".to_owned(),
            format!("--job-name={PREFIX}{name}"),
            // Slurm counts in minutes.
            format!("--time={}", time_limit.as_secs().div_ceil(60).max(1)),
            // Told to the script's own process, which is the agent: so that it leaves, and not its trials alone.
            format!("--signal=B:TERM@{}", leave_before.as_secs()),
            format!("--output={}/%j.log", folder.display()),
        ];
        own.into_iter().chain(options.iter().cloned()).collect()
    }

    /// The job's script.
    pub fn script(&self) -> String {
        let Queue { name, folder, program, settings, join_file, idle, .. } = &self.queue;
        let mut lines = vec!["#!/bin/sh".to_owned()];
        lines.extend(settings.iter().map(|(name, value)| format!("export {name}={}", quoted(value))));
        if let Some(file) = join_file {
            lines.push(format!("HEATS_JOIN=$(cat {}) || exit 1", quoted(&file.display().to_string())));
            lines.push("export HEATS_JOIN".to_owned());
        }
        let agent = [
            format!("exec {} agent start", quoted(&program.display().to_string())),
            format!("--name \"{PREFIX}{name}-$SLURM_JOB_ID\""),
            format!("--data {}/\"$SLURM_JOB_ID\"", quoted(&folder.display().to_string())),
            format!("--label alloc={name}"),
            // What Slurm has set aside for the job, which may be less than the machine has.
            "${SLURM_CPUS_ON_NODE:+--cpus \"$SLURM_CPUS_ON_NODE\"}".to_owned(),
            format!("--leave-idle {}ms", idle.ms),
            "--stop-trials".to_owned(),
        ];
        lines.push(agent.join(" "));
        lines.join("\n") + "\n"
    }

    /// Submits a job.
    ///
    /// # Errors
    /// `sbatch` is not there, or refuses.
    pub async fn submit(&self) -> Result<String, Failure> {
        let arguments = self.arguments();
        let answer = ask("sbatch", &arguments, &self.script()).await?;
        // With several clusters its name follows after a semicolon.
        let id = answer.trim().split(';').next().unwrap_or_default();
        if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(Failure::failed(format!("`sbatch` answered `{}`, which is no job's number", answer.trim())));
        }
        Ok(id.to_owned())
    }
}

/// This user's jobs of the queue of that name, or of all queues.
///
/// # Errors
/// `squeue` is not there, or fails.
pub async fn jobs(queue: Option<&str>) -> Result<Vec<Job>, Failure> {
    let arguments = ["--me", "--noheader", "--format=%i|%T|%j"].map(str::to_owned);
    let answer = ask("squeue", &arguments, "").await?;
    let jobs = answer.lines().filter_map(job);
    Ok(jobs.filter(|job| queue.is_none_or(|queue| job.queue == queue)).collect())
}

/// `17|RUNNING|heats-gpu`; other jobs are none of ours.
fn job(line: &str) -> Option<Job> {
    let mut fields = line.trim().splitn(3, '|');
    let (id, state, name) = (fields.next()?, fields.next()?, fields.next()?);
    let queue = name.strip_prefix(PREFIX)?;
    Some(Job { id: id.to_owned(), queue: queue.to_owned(), state: state.to_owned() })
}

/// What `program` prints, once it has read `input`.
async fn ask(program: &str, arguments: &[String], input: &str) -> Result<String, Failure> {
    let failed = |what: String| Failure::failed(format!("`{program}` {what}"));
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| {
            failed(format!("cannot be run: {error}"))
                .hint("Slurm's commands must be on the PATH: run this on a login node")
        })?;
    let talk = async {
        if let Some(mut stdin) = child.stdin.take() {
            // One that does not read to the end says why it failed.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
        child.wait_with_output().await
    };
    let output = tokio::time::timeout(PATIENCE, talk)
        .await
        .map_err(|_| failed(format!("did not answer within {} s", PATIENCE.as_secs())))?
        .map_err(|error| failed(format!("cannot be waited for: {error}")))?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        let why = why.trim().lines().last().unwrap_or("it gave no reason").to_owned();
        return Err(failed(format!("failed: {why}")));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// `text` as one word for a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue() -> Queue {
        Queue {
            name: "gpu".into(),
            folder: "/shared/it's mine/gpu".into(),
            program: "/opt/heats".into(),
            settings: [("HEATS_ADDRESS".to_owned(), "a:1,b:2".to_owned())].into(),
            join_file: Some("/shared/join".into()),
            time_limit: Duration::from_secs(90 * 60 + 1),
            leave_before: Duration::from_secs(120),
            idle: Span { ms: 300_000 },
            options: vec!["--partition=gpu".into(), "--gpus=2".into()],
        }
    }

    #[test]
    fn the_job_is_an_agent_that_is_told_before_its_time_is_up() {
        let slurm = Slurm::new(queue());
        assert_eq!(
            slurm.arguments(),
            [
                "--parsable",
                "--job-name=heats-gpu",
                "--time=91",
                "--signal=B:TERM@120",
                "--output=/shared/it's mine/gpu/%j.log",
                "--partition=gpu",
                "--gpus=2"
            ]
        );
        let script = "#!/bin/sh\n\
            export HEATS_ADDRESS='a:1,b:2'\n\
            HEATS_JOIN=$(cat '/shared/join') || exit 1\n\
            export HEATS_JOIN\n\
            exec '/opt/heats' agent start --name \"heats-gpu-$SLURM_JOB_ID\" \
            --data '/shared/it'\\''s mine/gpu'/\"$SLURM_JOB_ID\" --label alloc=gpu ${SLURM_CPUS_ON_NODE:+--cpus \"$SLURM_CPUS_ON_NODE\"} \
            --leave-idle 300000ms --stop-trials\n";
        assert_eq!(slurm.script(), script);
    }

    #[test]
    fn jobs_of_others_are_none_of_ours() {
        let found = Job { id: "17".into(), queue: "gpu-a".into(), state: "PENDING".into() };
        assert_eq!(job("17|PENDING|heats-gpu-a"), Some(found.clone()));
        assert!(found.is_pending());
        assert_eq!(found.agent(), "heats-gpu-a-17");
        assert_eq!(job("18|RUNNING|train|heats-"), None);
        assert_eq!(job("no job"), None);
    }
}
