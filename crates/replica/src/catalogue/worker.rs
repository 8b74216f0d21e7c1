//! The task that fills the catalogue. It watches the states as they are applied and writes what each holds
//! beyond the one before it; where it is slow it skips states, never records, and commits never wait for it.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use heats_core::{State, Sweep};
use heats_domain::SweepId;
use tokio::sync::{Notify, mpsc, oneshot, watch};

use crate::catalogue::book::{self, Catalogue, CatalogueError, Filling, META, Shared, event_key, open_value, sweep_of};
use crate::ground::Work;

/// How long changes gather before they are written, so that pages fill. Readers have what is newer from the state.
const GATHER: Duration = Duration::from_millis(200);
/// How many pages one batch carries.
const BATCH: usize = 100;
const CACHE_BYTES: u64 = 16 << 20;

/// Opens the catalogue in `dir`, beside the caller, and keeps it up to date with `states`.
pub(crate) fn open(dir: PathBuf, states: watch::Receiver<Arc<State>>) -> Catalogue {
    let (applied, _) = watch::channel(0);
    let (close, closing) = mpsc::unbounded_channel();
    let open = RwLock::new(Err(CatalogueError::Rebuilding));
    let shared = Arc::new(Shared { open, applied, doubt: Notify::new(), close });
    let worker = Worker { dir, shared: Arc::clone(&shared), known: BTreeSet::new(), from: None };
    tokio::spawn(run(worker, states, closing));
    Catalogue { shared }
}

async fn run(
    mut worker: Worker,
    mut states: watch::Receiver<Arc<State>>,
    mut closing: mpsc::UnboundedReceiver<oneshot::Sender<()>>,
) {
    let shared = Arc::clone(&worker.shared);
    let state = Arc::clone(&states.borrow());
    let adopted = Work::Threads.run_aside(move || {
        worker.adopt(&state);
        worker
    });
    worker = match adopted.await {
        Ok(worker) => worker,
        Err(error) => return give_up(&shared, &error.to_string()),
    };
    states.mark_changed();
    // The state machine goes before the catalogue is closed; what it applied last is still to be written then.
    let mut more = true;
    let mut closed = None;
    loop {
        let mut doubted = false;
        if closed.is_none() {
            tokio::select! {
                changed = states.changed(), if more => more = changed.is_ok(),
                () = shared.doubt.notified() => doubted = true,
                close = closing.recv() => match close {
                    Some(done) => closed = Some(done),
                    None => return,
                },
            }
        }
        let state = Arc::clone(&states.borrow_and_update());
        let last = closed.is_some();
        let worked = Work::Threads.run_aside(move || {
            if doubted {
                worker.rebuild("a reader found damage");
            }
            worker.follow(&state);
            if last {
                worker.close();
            }
            worker
        });
        worker = match worked.await {
            Ok(worker) => worker,
            // sled asserts what it believes about its files; the state has it all.
            Err(error) => return give_up(&shared, &error.to_string()),
        };
        if let Some(done) = closed.take() {
            let _ = done.send(());
            return;
        }
        // Nobody who shuts the node down waits for what gathers.
        tokio::select! {
            () = tokio::time::sleep(GATHER) => {}
            close = closing.recv() => match close {
                Some(done) => closed = Some(done),
                None => return,
            },
        }
    }
}

fn give_up(shared: &Shared, why: &str) {
    tracing::warn!(why, "the catalogue is not available until the next start; nothing is lost");
    *shared.open.write().unwrap_or_else(PoisonError::into_inner) = Err(CatalogueError::Unavailable(why.to_owned()));
}

struct Worker {
    dir: PathBuf,
    shared: Arc<Shared>,
    /// The sweeps that have events in it.
    known: BTreeSet<SweepId>,
    /// The last entry that is in it.
    from: Option<u64>,
}

impl Worker {
    /// Takes over what an earlier process left, if there is no doubt about it.
    fn adopt(&mut self, state: &State) {
        let marked = book::unmark(&self.dir);
        if !self.dir.exists() {
            return self.start_anew();
        }
        let Some(marked) = marked else { return self.rebuild("it was not closed") };
        match self.inspect(marked, state) {
            Ok(db) => {
                self.from = Some(marked);
                self.set(Ok(db));
                self.shared.applied.send_replace(marked);
            }
            Err(why) => self.rebuild(&why),
        }
    }

    fn inspect(&mut self, marked: u64, state: &State) -> Result<sled::Db, String> {
        // sled may also assert; a panic is as good as an error here.
        let opened = std::panic::catch_unwind(|| open_db(&self.dir));
        let db = opened.map_err(|_| "sled gave up on it")?.map_err(|error| error.to_string())?;
        let meta = db.get(META).map_err(|error| error.to_string())?;
        let applied = meta.as_deref().and_then(open_value).and_then(|bytes| bytes.try_into().ok());
        if applied.map(u64::from_be_bytes) != Some(marked) {
            return Err("it does not hold what it was closed with".to_owned());
        }
        if marked > state.applied {
            return Err("it is ahead of the state".to_owned());
        }
        // One look-up per sweep: from the first key of one to the first key after its last.
        let mut at = event_key(SweepId { bits: 0 }, 0, 0);
        while let Some(found) = db.range(at..).next() {
            let (key, _) = found.map_err(|error| error.to_string())?;
            let Some(sweep) = sweep_of(&key) else { break };
            self.known.insert(sweep);
            let Some(bits) = sweep.bits.checked_add(1) else { break };
            at = event_key(SweepId { bits }, 0, 0);
        }
        Ok(db)
    }

    /// Throws everything away; the next state fills it again.
    fn rebuild(&mut self, why: &str) {
        tracing::info!(why, "the catalogue is made anew");
        self.set(Err(CatalogueError::Rebuilding));
        match fs::remove_dir_all(&self.dir) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return self.set(Err(CatalogueError::Unavailable(error.to_string()))),
        }
        self.start_anew();
    }

    fn start_anew(&mut self) {
        self.known.clear();
        self.from = None;
        self.set(open_db(&self.dir).map_err(|error| CatalogueError::Unavailable(error.to_string())));
    }

    fn set(&self, open: Result<sled::Db, CatalogueError>) {
        let mut place = self.shared.open.write().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *place, open);
        // On a disk without room sled may never come back from this; whoever reads must not wait with it.
        drop(place);
        drop(before);
    }

    fn db(&self) -> Option<sled::Db> {
        self.shared.open.read().unwrap_or_else(PoisonError::into_inner).clone().ok()
    }

    /// Writes what `state` holds beyond what is in it. An error costs it everything, once; the second in a
    /// row, its service until the next start.
    fn follow(&mut self, state: &State) {
        for _ in 0..2 {
            let Some(db) = self.db() else { return };
            match self.write(&db, state) {
                Ok(()) => return,
                Err(error) => {
                    drop(db);
                    self.rebuild(&error.to_string());
                }
            }
        }
        give_up(&self.shared, "it cannot be written");
    }

    fn write(&mut self, db: &sled::Db, state: &State) -> sled::Result<()> {
        if self.from.is_some_and(|from| from >= state.applied) {
            return Ok(());
        }
        let mut batch = Batch::default();
        let gone: Vec<SweepId> = self.known.iter().copied().filter(|id| !state.sweeps.contains_key(id)).collect();
        for sweep in gone {
            let events = event_key(sweep, 0, 0)..=event_key(sweep, u64::MAX, u32::MAX);
            for key in db.range(events).keys() {
                batch.remove(db, &key?)?;
            }
            self.known.remove(&sweep);
        }
        for sweep in state.sweeps.values() {
            self.write_sweep(db, &mut batch, sweep)?;
        }
        // In the last batch, so that it is true once it is there.
        let mut meta = crc32fast::hash(&state.applied.to_be_bytes()).to_le_bytes().to_vec();
        meta.extend_from_slice(&state.applied.to_be_bytes());
        batch.inner.insert(META, meta);
        db.apply_batch(batch.inner)?;
        self.from = Some(state.applied);
        self.shared.applied.send_replace(state.applied);
        Ok(())
    }

    fn write_sweep(&mut self, db: &sled::Db, batch: &mut Batch, sweep: &Sweep) -> sled::Result<()> {
        let from = self.from.map_or(0, |from| from + 1);
        if sweep.journal.last().log_index < from {
            return Ok(());
        }
        let (mut index, mut place) = (0, 0);
        let mut page: Option<Filling> = None;
        for record in sweep.journal.iter_from(sweep.journal.place_of(from)) {
            place = if record.log_index == index { place + 1 } else { 0 };
            index = record.log_index;
            let filling = page.get_or_insert_with(|| Filling::new(event_key(sweep.id, index, place)));
            filling.push(&record);
            if filling.is_full() {
                batch.insert(db, page.take())?;
            }
        }
        batch.insert(db, page)?;
        self.known.insert(sweep.id);
        Ok(())
    }

    fn close(&mut self) {
        let Some(db) = self.db() else { return };
        self.set(Err(CatalogueError::Unavailable("the node is shut down".to_owned())));
        let flushed = db.flush().map_err(|error| error.to_string());
        drop(db);
        let marked = flushed.and_then(|_| match self.from {
            Some(from) => book::mark(&self.dir, from).map_err(|error| error.to_string()),
            None => Ok(()),
        });
        if let Err(why) = marked {
            tracing::warn!(why, "the catalogue was not closed whole; the next start makes it anew");
        }
    }
}

#[derive(Default)]
struct Batch {
    inner: sled::Batch,
    size: usize,
}

impl Batch {
    fn insert(&mut self, db: &sled::Db, page: Option<Filling>) -> sled::Result<()> {
        let Some((key, value)) = page.map(Filling::seal) else { return Ok(()) };
        self.inner.insert(&key, value);
        self.grow(db)
    }

    fn remove(&mut self, db: &sled::Db, key: &[u8]) -> sled::Result<()> {
        self.inner.remove(key);
        self.grow(db)
    }

    fn grow(&mut self, db: &sled::Db) -> sled::Result<()> {
        self.size += 1;
        if self.size < BATCH {
            return Ok(());
        }
        self.size = 0;
        db.apply_batch(std::mem::take(&mut self.inner))
    }
}

/// Nothing is flushed in the background: what a crash leaves is thrown away anyway, and an idle node sleeps.
fn open_db(dir: &Path) -> sled::Result<sled::Db> {
    sled::Config::new().path(dir).cache_capacity(CACHE_BYTES).flush_every_ms(None).open()
}
