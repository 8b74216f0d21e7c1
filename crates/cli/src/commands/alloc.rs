//! `heats alloc`

mod demand;
mod plan;
mod slurm;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use heats_domain::units::Span;
use heats_wire::v1;

use crate::context::{Context, OutputArg};
use crate::exit::{Exit, Failure, Outcome};
use crate::host::{Signals, folder};
use crate::output::{Column, Fields, Item, Kind, Listing};
use crate::{hints, words};
use demand::Demand;
use plan::{Limits, Sight};
use slurm::{Job, Slurm};

/// So many jobs, one after the other, may end without an agent that was ever heard of.
const STRIKES: usize = 3;

/// The verbs about agents that a batch system starts.
#[derive(clap::Subcommand, Debug)]
pub enum AllocCommand {
    /// Start agents as jobs whenever trials wait, until told to stop; they leave before their time is up, or when idle
    #[command(subcommand)]
    Add(System),
    /// Show the job that `add` would submit, and how many of it now; submit none
    #[command(subcommand)]
    DryRun(System),
    /// List your jobs that are agents, of all queues
    Ls(LsArgs),
}

/// The batch systems.
#[derive(clap::Subcommand, Debug)]
pub enum System {
    /// Slurm: by `sbatch` and `squeue`, which must be on the PATH
    Slurm(QueueArgs),
}

/// One queue of jobs, each an agent.
#[derive(clap::Args, Debug)]
pub struct QueueArgs {
    /// The queue's name: jobs and agents are called by it
    #[arg(value_parser = name)]
    name: String,
    /// How long a job may run
    #[arg(long, value_name = "TIME", default_value = "1h")]
    time_limit: Span,
    /// How long before that its agent hands its trials back and leaves
    #[arg(long, value_name = "TIME", default_value = "2m")]
    leave_before: Span,
    /// An agent leaves once it has had nothing to do for so long
    #[arg(long, value_name = "TIME", default_value = "5m")]
    idle: Span,
    /// So many jobs there are at most, with those that wait for a machine
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    max_agents: u32,
    /// So many of them may wait for a machine at once
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    backlog: u32,
    /// A file with what `heats token create --role agent --uses N` prints; jobs must be able to read it
    #[arg(long, value_name = "FILE")]
    join_file: Option<PathBuf>,
    /// Where agents keep everything and jobs write their logs; machines must share it [default: `alloc` in the data directory]
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    /// How often to look
    #[arg(long, value_name = "TIME", default_value = "10s")]
    poll: Span,
    /// What `sbatch` is given besides: -- --partition=gpu --gpus=1
    #[arg(last = true, value_name = "SBATCH OPTION")]
    options: Vec<String>,
}

/// `heats alloc ls`
#[derive(clap::Args, Debug)]
pub struct LsArgs {
    #[command(flatten)]
    output: OutputArg,
}

/// Does what the verb says.
pub fn run(context: &Context, command: &AllocCommand) -> Outcome {
    match command {
        AllocCommand::Add(System::Slurm(args)) => context.block_on(serve(context, args)),
        AllocCommand::DryRun(System::Slurm(args)) => context.block_on(dry_run(context, args)),
        AllocCommand::Ls(args) => context.block_on(ls(context, args)),
    }
}

/// A name that may be a part of a job's, an agent's and a folder's.
fn name(text: &str) -> Result<String, String> {
    let fine = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if text.is_empty() || text.len() > 40 || !text.chars().all(fine) {
        return Err("a queue's name has 1 to 40 letters, digits, `-` and `_`".into());
    }
    Ok(text.to_owned())
}

async fn serve(context: &Context, args: &QueueArgs) -> Outcome {
    let slurm = slurm(context, args)?;
    folder::make(slurm.folder())?;
    let client = context.client()?;
    let mut signals = Signals::listen()?;
    let mut history = History::default();
    let QueueArgs { name, max_agents, poll, options, .. } = args;
    let agents = words::count((*max_agents).into(), "agent");
    hints::note(&format!("queue `{name}`: at most {agents}, by `sbatch {}`", options.join(" ")));
    let mut said = String::new();
    loop {
        let trouble = match turn(&client, &slurm, args, &mut history).await {
            Ok(()) => String::new(),
            Err(trouble) => trouble.to_string(),
        };
        // The same trouble is worth one word.
        if !trouble.is_empty() && trouble != said {
            hints::warn(&format!("{trouble}; looking again every {}", words::duration(poll.ms)));
        }
        said = trouble;
        if history.strikes >= STRIKES {
            let hint = format!("look at the logs in {}, and start again when it is mended", slurm.folder().display());
            let message = format!("{STRIKES} jobs, one after the other, ended before their agent was heard of");
            return Err(Failure::failed(message).hint(hint));
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(poll.ms)) => {}
            () = signals.next() => break,
        }
    }
    hints::note("no more jobs are submitted; agents leave when they are idle, or at once by `scancel`");
    Ok(Exit::Ok)
}

/// Looks, and submits what is needed.
async fn turn(
    client: &heats_client::Client,
    slurm: &Slurm,
    args: &QueueArgs,
    history: &mut History,
) -> Result<(), Failure> {
    let (jobs, agents) = look(client, slurm).await?;
    let waiting = waiting(client).await?;
    history.learn(&jobs, &agents);
    if history.strikes >= STRIKES {
        return Ok(());
    }
    let sight = Sight { waiting: waiting.and_before(history.waiting), ..sight(&jobs, &agents, history) };
    history.waiting = waiting;
    for _ in 0..plan::more(&limits(args), &sight) {
        let id = slurm.submit().await?;
        hints::note(&format!("waiting: {}; submitted job {id}", words::count(sight.waiting.trials, "trial")));
        history.submitted.insert(id);
    }
    Ok(())
}

async fn dry_run(context: &Context, args: &QueueArgs) -> Outcome {
    let slurm = slurm(context, args)?;
    let client = context.client()?;
    let (jobs, agents) = look(&client, &slurm).await?;
    let waiting = waiting(&client).await?;
    let sight = Sight { waiting, ..sight(&jobs, &agents, &History::default()) };
    let more = plan::more(&limits(args), &sight);
    print(&slurm);
    let trials = words::count(waiting.trials, "trial");
    let there = words::count(jobs.len() as u64, "job");
    let more = words::count(more.into(), "job");
    hints::note(&format!("waiting: {trials}; in the queue: {there}; to be submitted now: {more}"));
    Ok(Exit::Ok)
}

fn print(slurm: &Slurm) {
    use std::io::Write;
    // Whoever does not read to the end needs no more.
    let _ = writeln!(anstream::stdout().lock(), "# sbatch {}\n{}", slurm.arguments().join(" "), slurm.script());
}

async fn ls(context: &Context, args: &LsArgs) -> Outcome {
    let printer = context.printer(&args.output)?;
    let jobs = slurm::jobs(None).await?;
    let status = context.client()?.leader_status().await?;
    let items = jobs.iter().map(|job| item(job, &status.agents)).collect();
    let listing = Listing {
        of: "jobs",
        meta: Fields::new().done(),
        items,
        columns: vec![
            Column::new("JOB", "id", Kind::Text),
            Column::new("QUEUE", "queue", Kind::Text),
            Column::new("STATE", "state", Kind::Text),
            Column::new("AGENT", "agent", Kind::Text),
            Column::new("TRIALS", "trials", Kind::Number),
        ],
        now_ms: 0,
    };
    printer.list(&listing, "no jobs: `heats alloc add slurm NAME` submits them when trials wait")?;
    Ok(Exit::Ok)
}

fn item(job: &Job, agents: &[v1::AgentStatus]) -> Item {
    let agent = agents.iter().find(|agent| agent.attached && agent.name == job.agent());
    let json = Fields::new()
        .with("id", job.id.as_str())
        .with("queue", job.queue.as_str())
        .with("state", job.state.as_str())
        .with("agent", agent.map(|agent| agent.name.as_str()))
        .with("trials", agent.map(|agent| agent.leases))
        .done();
    Item { name: job.id.clone(), json }
}

fn slurm(context: &Context, args: &QueueArgs) -> Result<Slurm, Failure> {
    if args.leave_before.ms >= args.time_limit.ms {
        return Err(Failure::usage("`--leave-before` must be shorter than `--time-limit`"));
    }
    let shared = args.folder.clone().unwrap_or_else(|| context.settings.data_dir().join("alloc"));
    let absolute = |path: PathBuf| {
        std::path::absolute(&path).map_err(|error| Failure::failed(format!("`{}`: {error}", path.display())))
    };
    let program = std::env::current_exe()
        .map_err(|error| Failure::failed(format!("cannot find this program's own file: {error}")))?;
    Ok(Slurm::new(slurm::Queue {
        name: args.name.clone(),
        folder: absolute(shared)?.join(&args.name),
        program,
        settings: context.settings.for_agents()?,
        join_file: args.join_file.clone().map(absolute).transpose()?,
        time_limit: Duration::from_millis(args.time_limit.ms),
        leave_before: Duration::from_millis(args.leave_before.ms),
        idle: args.idle,
        options: args.options.clone(),
    }))
}

const fn limits(args: &QueueArgs) -> Limits {
    Limits { agents: args.max_agents, backlog: args.backlog }
}

/// The queue's jobs, and the agents of them that are attached.
async fn look(client: &heats_client::Client, slurm: &Slurm) -> Result<(Vec<Job>, Vec<v1::AgentStatus>), Failure> {
    let jobs = slurm::jobs(Some(slurm.name())).await?;
    let status = client.leader_status().await?;
    let own = |agent: &v1::AgentStatus| agent.attached && jobs.iter().any(|job| job.agent() == agent.name);
    let agents = status.agents.into_iter().filter(own).collect();
    Ok((jobs, agents))
}

async fn waiting(client: &heats_client::Client) -> Result<Demand, Failure> {
    let list = client.list(v1::ListRequest { all: false, limit: 0 }).await?;
    Ok(Demand::of(&list.sweeps))
}

/// What is seen now, but for what waits.
fn sight(jobs: &[Job], agents: &[v1::AgentStatus], history: &History) -> Sight {
    Sight {
        waiting: Demand::default(),
        pending: jobs.iter().filter(|job| job.is_pending()).count() as u32,
        jobs: jobs.len() as u32,
        attached: agents.len() as u32,
        idle: agents.iter().filter(|agent| agent.leases == 0).count() as u32,
        per_agent: history.per_agent.max(1),
    }
}

/// What was seen before.
#[derive(Debug, Default)]
struct History {
    /// What waited the last time.
    waiting: Demand,
    /// The jobs of which nothing was heard yet.
    submitted: BTreeSet<String>,
    /// How many of them, one after the other, came to nothing.
    strikes: usize,
    /// The most trials that one of its agents ever held.
    per_agent: u32,
}

impl History {
    fn learn(&mut self, jobs: &[Job], agents: &[v1::AgentStatus]) {
        for agent in agents {
            self.per_agent = self.per_agent.max(agent.leases);
        }
        let attached = |job: &Job| agents.iter().any(|agent| agent.name == job.agent());
        for job in jobs.iter().filter(|job| attached(job)) {
            if self.submitted.remove(&job.id) {
                self.strikes = 0;
            }
        }
        let before = self.submitted.len();
        self.submitted.retain(|id| jobs.iter().any(|job| job.id == *id));
        self.strikes += before - self.submitted.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(id: &str) -> Job {
        Job { id: id.to_owned(), queue: "q".to_owned(), state: "RUNNING".to_owned() }
    }

    fn agent(job: &Job, leases: u32) -> v1::AgentStatus {
        v1::AgentStatus { name: job.agent(), attached: true, leases, ..v1::AgentStatus::default() }
    }

    #[test]
    fn jobs_that_end_before_their_agent_was_heard_of_count_until_one_is() {
        let submitted = ["1", "2", "3"].map(str::to_owned).into();
        let mut history = History { submitted, ..History::default() };
        history.learn(&[job("2"), job("3")], &[]);
        assert_eq!(history.strikes, 1);
        history.learn(&[job("3")], &[]);
        assert_eq!(history.strikes, 2);
        history.learn(&[job("3")], &[agent(&job("3"), 4)]);
        assert_eq!((history.strikes, history.per_agent), (0, 4));
        history.learn(&[], &[]);
        assert_eq!(history.strikes, 0, "it was heard of");
    }

    #[test]
    fn a_name_is_part_of_other_names() {
        assert!(name("gpu-short_1").is_ok());
        for bad in ["", "a b", "a/b", "ä", &"x".repeat(41)] {
            assert!(name(bad).is_err(), "{bad}");
        }
    }
}
