//! One attempt from the moment that the agent is told of it, or finds it, until a coordinator has its end.
//!
//! One task per attempt, one path for attempts that were started here and those that an earlier agent left: a
//! process that is waited for, files that are read, orders that are obeyed, an end that is told. What an
//! order means for the trial is the coordinator's business.

use std::sync::Arc;
use std::time::Duration;

use heats_wire::v1;
use heats_wire::v1::from_agent::Message;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::attempt::{Cause, End, Ending, Live, NOTE, Record};
use crate::collector::{Collector, Summary, Word};
use crate::containers;
use crate::context::Context;
use crate::disk::Disk;
use crate::door::Door;
use crate::ending::{self, Evidence};
use crate::executors::{EXECUTORS, StartError};
use crate::forkserver::{ForkError, Forks};
use crate::gpus::{Loan, Trace};
use crate::held::{Held, Order};
use crate::keeper::Keeper;
use crate::launch::{House, LaunchError, Order as LaunchOrder};
use crate::lines;
use crate::proc;
use crate::process::Process;
use crate::resume;
use crate::rotation::Rotation;
use crate::slots::Slot;
use crate::warm::Template;
use crate::watcher::Changes;

/// An end that a coordinator has not taken over by then is synced, in case the power goes next.
const SYNC_AFTER: Duration = Duration::from_millis(200);
/// A tree that was killed is looked at again, for it may have forked meanwhile.
const KILL_AGAIN: Duration = Duration::from_millis(200);
/// How long a shim may take from its start to noting which processes run.
const LIVE_WAIT: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(5);
const LAST_LINES: usize = 20;

/// Where an attempt comes from.
#[derive(Debug)]
pub enum Origin {
    /// A coordinator told the agent to run it.
    Told(Box<v1::Run>),
    /// An earlier agent started it, or was about to. Its processors are counted from the beginning.
    Left(Slot),
}

/// An attempt whose process was started, or is over.
struct Begun {
    record: Record,
    /// `None` where it is gone already.
    process: Option<Process>,
    door: Option<Door>,
    slot: Slot,
    loan: Loan,
    beginning: Beginning,
}

/// How its process came to be.
#[derive(Default)]
struct Beginning {
    /// Forked from a template.
    warm: bool,
    /// Why not, where its sweep asks for that.
    cold: String,
}

/// Supervises `held` to its end. Returns when nothing more has to be done about it.
pub async fn supervise(context: Arc<Context>, held: Arc<Held>, origin: Origin) {
    let begun = match origin {
        Origin::Told(run) => begin(&context, &held, *run).await,
        Origin::Left(slot) => {
            let rank = held.dir.record().map_or(0, |record| record.rank);
            if let Err(error) = context.folders.enter(&context.paths.of_trial(held.key, rank)) {
                tracing::warn!(attempt = %held.key, %error, "a trial's folders cannot be looked at");
            }
            adopt(&context, &held, slot).await
        }
    };
    let (finished, rotation) = match begun {
        Ok(begun) => {
            held.begin();
            run(&context, &held, begun).await
        }
        Err(finished) => (finished, None),
    };
    // Nothing may be said about a trial that has gone to somebody else.
    tokio::select! {
        biased;
        () = held.is_fenced() => {}
        () = tell(&context, &held, finished) => {}
    }
    if let Some(mut rotation) = rotation {
        // A coordinator has everything for good now. A few calls of the file system, for few trials.
        rotation.turn(Some(u64::MAX));
    }
    context.over(&held).await;
}

async fn tell(context: &Context, held: &Arc<Held>, finished: v1::Finished) {
    context.outbox.send(held, Message::Finished(finished)).await;
    if tokio::time::timeout(SYNC_AFTER, held.is_over()).await.is_err() {
        let dir = held.dir.clone();
        // An attempt that never ran has no end to sync.
        let _nothing_there = tokio::task::spawn_blocking(move || dir.sync_end()).await;
        held.is_over().await;
    }
}

/// Prepares an attempt, waits for its processors and starts it. An error is its end.
async fn begin(context: &Context, held: &Arc<Held>, run: v1::Run) -> Result<Begun, v1::Finished> {
    let failed = |why: String| {
        tracing::warn!(attempt = %held.key, why, "an attempt could not be started");
        conclude(held, Some(&End::not_started(why)), None)
    };
    let order = LaunchOrder::of(held.key, run).map_err(|error| failed(error.to_string()))?;
    context.disk.look();
    let tree = match &order.code {
        Some(name) => {
            let tree = tokio::select! {
                biased;
                ending = not_begun(held, &context.disk) => return Err(conclude(held, None, Some(&ending))),
                tree = context.codes.prepare(name) => tree,
            };
            Some(tree.map_err(|error| failed(error.to_string()))?)
        }
        None if order.code_dir().is_dir() => None,
        None => return Err(failed(LaunchError::NoFolder(order.code_dir()).to_string())),
    };
    let env = order.env(tree.as_ref().map(|tree| tree.path()));
    let environment = tokio::select! {
        biased;
        ending = not_begun(held, &context.disk) => return Err(conclude(held, None, Some(&ending))),
        environment = context.environments.prepare(env.as_ref(), &order.base_dir, order.program()) => environment,
    };
    let environment = environment.map_err(|error| failed(error.to_string()))?;
    let socket = context.paths.socket(held.key);
    let house = House {
        paths: &context.paths,
        socket: &socket,
        python: &context.python,
        bin: context.heats_bin.as_deref(),
        gpus: &context.gpus,
        group: context.group(held.key),
    };
    let (folders, paths) = (context.folders.clone(), context.paths.of_trial(held.key, order.rank()));
    let entered = tokio::task::spawn_blocking(move || folders.enter(&paths));
    let entered = entered.await.map_err(|error| failed(error.to_string()))?;
    entered.map_err(|error| failed(format!("the trial's folders could not be made: {error}")))?;
    let resume = tokio::select! {
        biased;
        ending = not_begun(held, &context.disk) => return Err(conclude(held, None, Some(&ending))),
        resume = resume::fetch(context, held.key, order.checkpoint(&context.stores)) => resume,
    };
    let resume = match resume {
        Err(why) if order.forked => return Err(failed(format!("{why}; a fork does not start from the beginning"))),
        Err(why) => Err(format!("{why}; this attempt starts from the beginning")),
        Ok(found) => Ok(found),
    };
    let found = resume.as_ref().ok().and_then(Option::as_ref);
    let (record, params) = order.record(&house, &environment, found).map_err(|error| failed(error.to_string()))?;
    let recipe = order.recipe(&record.launch, &house, &environment, tree.as_ref().map(|tree| tree.path()));
    let (dir, made) = (held.dir.clone(), record.clone());
    let (isolation, memory) = (context.isolation.clone(), order.grant.memory);
    let prepared = tokio::task::spawn_blocking(move || {
        if let Some(group) = &made.group {
            let refused = |error| format!("its control group {} could not be made: {error}", group.path.display());
            isolation.make(group, made.cpus, memory).map_err(refused)?;
        }
        dir.create(&made, &params).map_err(|error| error.to_string())?;
        tree.map_or(Ok(()), |tree| tree.copy_to(&dir.work())).map_err(|error| error.to_string())?;
        resume.or_else(|why| dir.note(&why).map_err(|error| error.to_string()).map(|()| None))
    });
    prepared.await.map_err(|error| failed(error.to_string()))?.map_err(failed)?;
    // Before the start: whatever happens next, a successor knows that something may run here.
    context.journal.started(held.key).await.map_err(|error| failed(error.to_string()))?;
    // The door is open before anybody can knock.
    let door = open_door(held, &record);
    let template = match &recipe {
        Some(recipe) => tokio::select! {
            biased;
            ending = not_begun(held, &context.disk) => return Err(conclude(held, None, Some(&ending))),
            template = context.templates.get(recipe) => Some(template),
        },
        None => None,
    };
    // Last: whoever gets processors uses them at once, and the coordinator may have leased this one ahead.
    let slot = tokio::select! {
        biased;
        ending = not_begun(held, &context.disk) => return Err(conclude(held, None, Some(&ending))),
        slot = context.slots.take(record.cpus) => slot,
    };
    let loan = context.gpus.lend(&record.gpus).await;
    held.begin();
    let (started, beginning) = start(context, held, template).await;
    match started {
        Ok(process) => Ok(Begun { record, process: Some(process), door, slot, loan, beginning }),
        Err(StartError::Fork(ForkError::Lost)) => {
            drop(door);
            drop(loan);
            adopt(context, held, slot).await
        }
        Err(error) => Err(failed(error.to_string())),
    }
}

/// Starts the process: from its template, where there is one or a reason why not, or cold.
async fn start(
    context: &Context,
    held: &Held,
    template: Option<Result<Arc<Template>, String>>,
) -> (Result<Process, StartError>, Beginning) {
    let mut cold = String::new();
    match template {
        Some(Ok(template)) => match fork(held, template).await {
            Err(StartError::Fork(ForkError::Lost)) if has_nothing(held).await => {
                "the template was lost while it forked this trial".clone_into(&mut cold);
            }
            started => return (started, Beginning { warm: true, cold }),
        },
        Some(Err(why)) => cold = why,
        None => {}
    }
    (fork(held, context.shims.clone()).await, Beginning { warm: false, cold })
}

async fn fork(held: &Held, forks: Arc<dyn Forks>) -> Result<Process, StartError> {
    let dir = held.dir.clone();
    let [executor] = EXECUTORS;
    tracing::debug!(attempt = %held.key, executor = executor.name(), "starting");
    let started = tokio::task::spawn_blocking(move || executor.start(forks.as_ref(), &dir)).await;
    started.unwrap_or_else(|error| Err(ForkError::Refused(std::io::Error::other(error)).into()))
}

/// Whether nothing runs of an attempt whose start was lost on the way, nor ever will: then it can be started again.
async fn has_nothing(held: &Held) -> bool {
    let deadline = Instant::now() + LIVE_WAIT;
    while is_locked(held) && held.dir.live().is_err() && Instant::now() < deadline {
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    // In this order: whoever held the lock has noted a process before it gave the lock back.
    !is_locked(held) && held.dir.live().is_err() && held.dir.end().is_none()
}

/// Returns, with the reason, once the attempt is ordered to end, or has to be given back for want of room on the disk.
async fn not_begun(held: &Held, disk: &Disk) -> Ending {
    let mut orders = held.orders();
    orders.mark_changed();
    tokio::select! {
        biased;
        Order { cause, why, .. } = next_order(&mut orders) => Ending { cause, why },
        () = disk.gets_full() => {
            Ending { cause: Cause::Preempted, why: format!("it was not started: {}", disk.unable()) }
        }
    }
}

/// Finds an attempt that an earlier agent left: alive, over, lost, or never started.
async fn adopt(context: &Context, held: &Arc<Held>, slot: Slot) -> Result<Begun, v1::Finished> {
    let Ok(record) = held.dir.record() else {
        return Err(conclude(held, None, held.dir.ending().as_ref()));
    };
    if !held.dir.was_started() {
        let why = "its agent went down before it could be started".to_owned();
        return Err(conclude(held, None, Some(&Ending { cause: Cause::Shutdown, why })));
    }
    let loan = context.gpus.lent_before(&record.gpus);
    let deadline = Instant::now() + LIVE_WAIT;
    // Free, the lock says that the supervisor is gone: with or without a note of the end.
    while held.dir.end().is_none() && is_locked(held) {
        // The handle is opened before the lock is looked at again: held then, the id was still the supervisor's.
        if let Ok(Live { shim, child: _, warm }) = held.dir.live()
            && let Ok(process) = Process::open(shim)
            && is_locked(held)
        {
            let (door, beginning) = (open_door(held, &record), Beginning { warm, cold: String::new() });
            return Ok(Begun { record, process: Some(process), door, slot, loan, beginning });
        }
        if Instant::now() >= deadline {
            tracing::error!(attempt = %held.key, "a supervisor runs and does not say what it supervises");
            break;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    let warm = held.dir.live().is_ok_and(|live| live.warm);
    let beginning = Beginning { warm, cold: String::new() };
    Ok(Begun { record, process: None, door: None, slot, loan, beginning })
}

fn is_locked(held: &Held) -> bool {
    // The trial lock is given back when the file is closed.
    held.dir.sheet_file().is_ok_and(|file| matches!(file.try_lock(), Err(std::fs::TryLockError::WouldBlock)))
}

/// Supervises a process until it is gone and all that it wrote is sent.
async fn run(context: &Context, held: &Arc<Held>, begun: Begun) -> (v1::Finished, Option<Rotation>) {
    let Begun { record, process, door, slot, loan, beginning } = begun;
    let Beginning { warm, cold } = beginning;
    let watch = context.watcher.watch(held.dir.path());
    let made = context.watcher.watch(&record.checkpoints);
    let started = v1::Started {
        key: Some(held.key.to_wire()),
        environment: record.environment.clone(),
        environment_name: record.environment_name,
        found: record.found.clone(),
        warm,
        cold,
    };
    let (ended, is_ended) = watch::channel(false);
    let is_all_there = is_ended.clone();
    let word = if record.rank == 0 { Word::Counts } else { Word::CountsForNothing };
    let collector = Collector::new(held.clone(), context.outbox.clone(), record.objectives(), context.log_limit, word);
    let collecting = async {
        context.outbox.send(held, Message::Started(started)).await;
        collector.run(watch.changes(), is_ended).await
    };
    let running = async {
        if let Some(process) = &process {
            control(held, &record, process, watch.changes()).await;
        }
        bury(held, process.as_ref(), &record).await;
        // Before the end is told: the next one need not wait for that.
        drop(slot);
        drop(door);
        held.is_gone();
        ended.send_replace(true);
    };
    // A trial that has gone to somebody else is ended like any other, but nothing more of it is sent.
    let collecting = async {
        tokio::select! {
            (summary, rotation) = collecting => (summary, Some(rotation)),
            () = held.is_fenced() => (Summary::default(), None),
        }
    };
    // The end is told when the last checkpoint is kept: whoever goes on from it starts after that.
    let keeper = Keeper::new(context, held, &record);
    let keeping = async {
        // Checkpoints count from rank 0 alone.
        if record.rank > 0 {
            return true;
        }
        tokio::select! {
            all = keeper.run(made.changes(), is_all_there) => all,
            () = held.is_fenced() => true,
        }
    };
    let ((summary, rotation), (), all_kept) = tokio::join!(collecting, running, keeping);
    if all_kept {
        empty(record.checkpoints.clone()).await;
    }
    // Whoever is leased them next must find them free.
    let trace = Trace { session: process.as_ref().map(Process::id), mark: mark(&record) };
    context.gpus.take_back(loan, trace).await;
    context.folders.leave(&context.paths.of_trial(held.key, record.rank));
    let (end, ending, infeasible) = (held.dir.end(), held.dir.ending(), held.dir.infeasible());
    let finished = finished(
        held,
        &Evidence {
            end: end.as_ref(),
            ending: ending.as_ref(),
            infeasible: infeasible.as_deref(),
            summary: &summary,
            objectives: &record.objectives(),
            last_lines: &last_lines(held),
            disk_is_full: context.disk.has_nothing(),
        },
    );
    (finished, rotation)
}

/// Removes what is in a folder. What cannot be removed now is when the attempt's own folder is.
async fn empty(folder: std::path::PathBuf) {
    let emptied = tokio::task::spawn_blocking(move || {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            let remove = if is_folder { std::fs::remove_dir_all } else { std::fs::remove_file };
            let _removed_later = remove(entry.path());
        }
    });
    // It panics nowhere.
    let _emptied = emptied.await;
}

fn open_door(held: &Arc<Held>, record: &Record) -> Option<Door> {
    match Door::open(held.clone(), record.socket.clone(), record.checkpoints.clone(), record.rank) {
        Ok(door) => Some(door),
        Err(error) => {
            // Door 0 still works, and the Python package falls back to it.
            tracing::error!(attempt = %held.key, %error, "a trial's socket could not be opened");
            None
        }
    }
}

/// Waits for the process, and ends it when that is ordered or its time is up.
async fn control(held: &Arc<Held>, record: &Record, process: &Process, mut changes: Changes) {
    let started = Instant::now();
    let limit = record.timeout_ms.map(Duration::from_millis);
    let time_up = limit.map(|limit| {
        let age = proc::stat(process.id()).and_then(|stat| proc::age(stat).ok()).unwrap_or_default();
        started + limit.saturating_sub(age)
    });
    if let Some(Ending { cause, why }) = held.dir.ending() {
        held.order(Order { cause, grace: Duration::from_millis(record.stop_grace_ms), why });
    }
    let mut orders = held.orders();
    // It may have been ordered before anybody listened.
    orders.mark_changed();
    let mut ordered_at = None;
    let mut kill_at: Option<Instant> = None;
    loop {
        tokio::select! {
            waited = process.ended() => {
                if let Err(error) = waited {
                    tracing::error!(attempt = %held.key, %error, "a process cannot be waited for");
                }
                return;
            }
            order = next_order(&mut orders) => {
                let now = Instant::now();
                if ordered_at.is_none() {
                    let ending = Ending { cause: order.cause, why: order.why.clone() };
                    if let Err(error) = held.dir.write_ending(&ending) {
                        // Without the note a successor would call the end by another name. That is all.
                        tracing::warn!(attempt = %held.key, %error, "why an attempt is ended could not be noted");
                    }
                    terminate(held, process, &mut changes).await;
                }
                kill_at = Some(*ordered_at.get_or_insert(now) + order.grace);
            }
            () = sleep_until(time_up), if ordered_at.is_none() => {
                let why = ending::timed_out(limit.unwrap_or_default());
                held.order(Order { cause: Cause::TimedOut, grace: Duration::from_millis(record.stop_grace_ms), why });
            }
            () = sleep_until(kill_at) => {
                // First: whoever only asked for it is killed with what remains.
                remove_container(record).await;
                if let Some(group) = &record.group {
                    group.kill();
                }
                for stat in proc::descendants(process.id()) {
                    proc::kill(stat, Signal::KILL);
                }
                kill_at = Some(Instant::now() + KILL_AGAIN);
            }
        }
    }
}

async fn next_order(orders: &mut watch::Receiver<Option<Order>>) -> Order {
    loop {
        if orders.changed().await.is_err() {
            // The sender lives in the attempt that is supervised: it is never gone.
            std::future::pending::<()>().await;
        }
        if let Some(order) = orders.borrow_and_update().clone() {
            return order;
        }
    }
}

async fn sleep_until(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when).await,
        None => std::future::pending().await,
    }
}

/// Sends SIGTERM to the command's process group, once it is known.
async fn terminate(held: &Held, process: &Process, changes: &mut Changes) {
    loop {
        if let Ok(Live { shim, child, warm: _ }) = held.dir.live() {
            // The group's id may be another's once the command is reaped; its session tells.
            if let (Some(stat), Some(group)) = (proc::stat(child), Pid::from_raw(child))
                && stat.session == shim
            {
                // Fails only where the group has just ended.
                let _ended = kill_process_group(group, Signal::TERM);
            }
            return;
        }
        tokio::select! {
            _change = changes.wait() => {}
            _ended = process.ended() => return,
        }
    }
}

/// Removes the attempt's container, where it has one.
async fn remove_container(record: &Record) {
    let cleanup = record.launch.cleanup.clone();
    if !cleanup.is_empty() {
        // It panics nowhere.
        let _removed = tokio::task::spawn_blocking(move || containers::remove(&cleanup)).await;
    }
}

/// Kills what is left where the supervising process itself was killed: it would have done so otherwise.
async fn bury(held: &Held, process: Option<&Process>, record: &Record) {
    if held.dir.end().is_some() {
        return;
    }
    remove_container(record).await;
    if let Some(group) = record.group.clone() {
        // It panics nowhere.
        let _ended = tokio::task::spawn_blocking(move || group.end()).await;
    }
    // The session counts only where this agent saw it end: after a restart of the machine, its number may be anybody's.
    let mark = mark(record);
    let session = process.map(Process::id);
    let deadline = Instant::now() + LIVE_WAIT;
    loop {
        let left = proc::remains(session, &mark);
        if left.is_empty() {
            return;
        }
        if Instant::now() >= deadline {
            tracing::error!(attempt = %held.key, left = left.len(), "processes of a trial cannot be killed");
            return;
        }
        for stat in left {
            proc::kill(stat, Signal::KILL);
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// What no other process has in its environment: the socket is the attempt's own.
fn mark(record: &Record) -> String {
    format!("HEATS_API_SOCK={}", record.socket.display())
}

/// The end of an attempt that reported nothing.
fn conclude(held: &Held, end: Option<&End>, ending: Option<&Ending>) -> v1::Finished {
    finished(
        held,
        &Evidence {
            end,
            ending,
            infeasible: None,
            summary: &Summary::default(),
            objectives: &[],
            last_lines: "",
            disk_is_full: false,
        },
    )
}

fn finished(held: &Held, evidence: &Evidence<'_>) -> v1::Finished {
    let (end, detail) = ending::conclude(evidence);
    v1::Finished {
        key: Some(held.key.to_wire()),
        end: Some(end),
        ran_ms: evidence.end.map_or(0, |end| end.wall_ms),
        cpu_ms: evidence.end.map_or(0, |end| end.cpu_ms),
        max_rss: evidence.end.map_or(0, |end| end.max_rss),
        detail,
    }
}

fn last_lines(held: &Held) -> String {
    let errors = lines::tail(&held.dir.stderr(), LAST_LINES);
    let is_ours = |line: &str| line.starts_with(NOTE);
    if errors.lines().all(is_ours) { lines::tail(&held.dir.stdout(), LAST_LINES) } else { errors }
}
