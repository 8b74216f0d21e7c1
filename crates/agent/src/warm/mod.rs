//! Warm starts: the processes that trials of a Python script are forked from, which have imported what it imports. One
//! for each [`Recipe`], made when the first trial needs it and ended when none has needed it for a while.
//!
//! Nothing depends on them: where there is none, a trial starts cold, and says why. What a copy has in common with a
//! process of its own, and what it has not, is in `docs/warm.md`; the template's own code is `python/heats/_template.py`.

mod recipe;
mod template;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::OnceCell;
use tokio::time::Instant;

pub use recipe::Recipe;
pub use template::{Surroundings, Template};

use crate::event::{AgentEvent, OnEvent};

/// So many templates at once; each has the memory of what it imported.
const TEMPLATES_MAX: usize = 8;
/// A template that no trial has been forked from for so long is ended.
const LINGER: Duration = Duration::from_secs(300);
/// So often it is looked for those.
const TIDY_EVERY: Duration = Duration::from_secs(30);
/// A template that was lost so often, without [`LINGER`] between, is not made again.
const LOSSES_MAX: u32 = 3;

/// The templates of one agent.
#[derive(Debug)]
pub struct Templates {
    surroundings: Surroundings,
    /// Where what they print is kept.
    folder: PathBuf,
    on_event: OnEvent,
    made: Mutex<BTreeMap<Recipe, Arc<Entry>>>,
    count: AtomicU64,
}

/// A template, or why there is none.
type Made = Result<Arc<Template>, String>;

#[derive(Debug)]
struct Entry {
    made: OnceCell<Made>,
    used: Mutex<Instant>,
    /// How often it was lost before.
    losses: u32,
}

impl Entry {
    fn new(losses: u32) -> Arc<Self> {
        Arc::new(Self { made: OnceCell::new(), used: Mutex::new(Instant::now()), losses })
    }

    fn used(&self) -> Instant {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Templates {
    /// None yet. `folder` is emptied: it holds what templates print for as long as they are there.
    ///
    /// # Errors
    /// Where the folder cannot be made.
    pub fn new(surroundings: Surroundings, folder: PathBuf, on_event: OnEvent) -> std::io::Result<Self> {
        match std::fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => std::fs::create_dir_all(&folder)?,
        }
        Ok(Self { surroundings, folder, on_event, made: Mutex::default(), count: AtomicU64::new(0) })
    }

    /// The template that is made by `recipe`, once it is ready; those who need the same wait for the one.
    ///
    /// # Errors
    /// Why there is none, for people, as a fragment. That stays so until nobody has asked for a while.
    pub async fn get(&self, recipe: &Recipe) -> Made {
        loop {
            let entry = self.enter(recipe)?;
            let made = entry.made.get_or_init(|| self.make(recipe)).await.clone()?;
            if made.is_up() {
                return Ok(made);
            }
            tracing::warn!(script = recipe.script(), "a template was lost");
            let losses = entry.losses + 1;
            if losses == LOSSES_MAX {
                self.on_event.tell(AgentEvent::RunsCold { script: recipe.script().to_owned(), why: lost(losses) });
            }
            let mut all = self.made.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(place) = all.get_mut(recipe)
                && Arc::ptr_eq(place, &entry)
            {
                *place = Entry::new(losses);
            }
        }
    }

    /// Ends the templates that nobody needs any more, for as long as this is polled.
    pub async fn keep_tidy(&self) {
        loop {
            tokio::time::sleep(TIDY_EVERY).await;
            let unused: Vec<Arc<Entry>> = {
                let mut all = self.made.lock().unwrap_or_else(PoisonError::into_inner);
                all.extract_if(.., |_, entry| entry.made.initialized() && entry.used().elapsed() >= LINGER)
                    .map(|(_, entry)| entry)
                    .collect()
            };
            end(unused);
        }
    }

    /// The place of `recipe` among the others. Where there is no room, the one goes that was used least lately.
    fn enter(&self, recipe: &Recipe) -> Result<Arc<Entry>, String> {
        let mut all = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = all.get(recipe) {
            if entry.losses >= LOSSES_MAX {
                return Err(lost(entry.losses));
            }
            *entry.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
            return Ok(entry.clone());
        }
        if all.len() >= TEMPLATES_MAX {
            let ready = all.iter().filter(|(_, entry)| entry.made.initialized());
            let oldest = ready.min_by_key(|(_, entry)| entry.used()).map(|(recipe, _)| recipe.clone());
            match oldest.and_then(|oldest| all.remove(&oldest)) {
                Some(entry) => end(vec![entry]),
                None => return Err(format!("{TEMPLATES_MAX} templates of other scripts are being made already")),
            }
        }
        let entry = Entry::new(0);
        all.insert(recipe.clone(), entry.clone());
        Ok(entry)
    }

    async fn make(&self, recipe: &Recipe) -> Made {
        let begun = Instant::now();
        let log = self.folder.join(format!("{}.log", self.count.fetch_add(1, Ordering::Relaxed)));
        let made = Template::start(recipe, &self.surroundings, log).await;
        let script = recipe.script();
        match &made {
            Ok(_) => tracing::info!(script, took = ?begun.elapsed(), "a template is ready"),
            Err(why) => {
                tracing::warn!(script, why, "trials start cold");
                self.on_event.tell(AgentEvent::RunsCold { script: script.to_owned(), why: why.clone() });
            }
        }
        made.map(Arc::new)
    }
}

fn lost(times: u32) -> String {
    format!("its template was lost {times} times: somebody kills it, or memory runs out")
}

/// Ends templates, where their last user is done. Killing a large process takes a moment.
fn end(entries: Vec<Arc<Entry>>) {
    tokio::task::spawn_blocking(move || drop(entries));
}
