//! A user who submits sweeps, as others do with the same requests, and looks at trials one after the other.

use std::time::Duration;

use heats_domain::TrialState;
use heats_testkit::Seen;
use heats_wire::v1;
use heats_wire::v1::sweeps_client::SweepsClient;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tonic::transport::Endpoint;

use super::{Notes, TRIALS, spec};

/// How long an answer may take before somebody else is asked.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a user looks at an answer.
const PAUSE: Duration = Duration::from_millis(20);

pub struct User {
    number: usize,
    coordinators: Vec<String>,
    notes: Notes,
    random: ChaCha8Rng,
}

impl User {
    pub fn new(number: usize, coordinators: Vec<String>, notes: Notes) -> Self {
        Self { number, coordinators, notes, random: ChaCha8Rng::seed_from_u64(number as u64) }
    }

    /// Submits so many sweeps, each twice, and looks at their trials until all is over.
    pub async fn run(mut self, sweeps: u64) {
        let mut known = Vec::new();
        for request in (1..=sweeps).chain(1..=sweeps) {
            known.push(self.submit(request).await);
        }
        while !self.notes.is_over() {
            let sweep = known[self.random.random_range(0..known.len())];
            self.look(sweep).await;
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn somebody(&mut self) -> SweepsClient<tonic::transport::Channel> {
        let address = &self.coordinators[self.random.random_range(0..self.coordinators.len())];
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
        SweepsClient::new(endpoint.connect_timeout(PATIENCE).timeout(PATIENCE).connect_lazy())
    }

    /// Asks until somebody answers; the same request is one sweep, whoever makes it.
    async fn submit(&mut self, request: u64) -> u64 {
        loop {
            let message = v1::SubmitRequest {
                request,
                spec: spec(request),
                base_dir: "/".to_owned(),
                name: String::new(),
                // What the command says of a folder that is in no repository.
                provenance: r#"{"code": {"as_it_was": {"blake3": "00"}, "git": null}}"#.to_owned(),
                code: String::new(),
            };
            let mut client = self.somebody();
            let (notes, now) = (&self.notes, self.notes.now());
            let call = notes.write(|history| history.submit(now, request));
            if let Ok(reply) = client.submit(message).await {
                let sweep = reply.into_inner().sweep.expect("has an id").bits;
                notes.write(|history| history.submitted(call, notes.now(), sweep));
                return sweep;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Looks at a few trials, if whoever is asked answers.
    async fn look(&mut self, sweep: u64) {
        let first = self.random.random_range(0..TRIALS - 3);
        let numbers = (first..first + 3).collect();
        let name = heats_domain::SweepId { bits: sweep }.to_string();
        let request = v1::TrialsRequest { sweep: name, numbers, ..v1::TrialsRequest::default() };
        let mut client = self.somebody();
        let begun = self.notes.now();
        if let Ok(reply) = client.trials(request).await {
            let answered = self.notes.now();
            let trials = reply.into_inner().trials;
            let seen = trials.iter().map(|trial| Seen {
                trial: trial.number,
                attempts: trial.attempts,
                last_step: trial.last_step.unwrap_or_default(),
                over: TrialState::try_from(trial.state).is_ok_and(TrialState::is_terminal),
            });
            self.notes.write(|history| history.read(self.number, begun, answered, sweep, seen));
        }
    }
}
