//! Webhooks hear of everything at least once and in order, whoever is killed meanwhile.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

use heats_testkit::{Cluster, Expected, Workspace, eventually};
use heats_tests::{PARABOLA, sweep};
use serde_json::Value;

/// A receiver that refuses the first so many deliveries.
struct Receiver {
    url: String,
    heard: Arc<Mutex<Heard>>,
}

#[derive(Default)]
struct Heard {
    refused: usize,
    /// What was taken: the header's id, and the body.
    taken: Vec<(String, Value)>,
}

impl Receiver {
    fn start(refuses: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let url = format!("http://{}/hook", listener.local_addr().expect("bound"));
        let heard: Arc<Mutex<Heard>> = Arc::default();
        let hears = heard.clone();
        // It ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A coordinator that was killed in the middle sends nothing whole.
                if let Some((id, body)) = read(&stream) {
                    let mut heard = hears.lock().unwrap_or_else(PoisonError::into_inner);
                    let is_refused = heard.refused < refuses;
                    if is_refused {
                        heard.refused += 1;
                    } else {
                        heard.taken.push((id, body));
                    }
                    let status = if is_refused { "503 Later" } else { "204 Thanks" };
                    let _gone = write!(&stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
                }
            }
        });
        Self { url, heard }
    }

    fn with<T>(&self, look: impl FnOnce(&Heard) -> T) -> T {
        look(&self.heard.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn read(stream: &TcpStream) -> Option<(String, Value)> {
    let mut reader = BufReader::new(stream);
    let (mut id, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end().split_once(": ") {
            Some(("heats-delivery", value)) => id = value.to_owned(),
            Some(("content-length", value)) => length = value.parse().ok()?,
            Some(_) => {}
            None if line.trim_end().is_empty() => break,
            None => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((id, serde_json::from_slice(&body).ok()?))
}

#[test]
fn a_webhook_that_fails_at_first_hears_of_everything_in_order_though_its_leader_is_killed() {
    let receiver = Receiver::start(2);
    let trials = 90;
    let hooks = format!("notify: [{{ on: [finished, failed, new_best], webhook: \"{}\" }}]\n", receiver.url);
    let workspace = Workspace::with(&(sweep(trials) + &hooks), PARABOLA).with_variable("HEATS_WEBHOOKS", "any");
    let mut cluster = Cluster::start(workspace, 3, 2);
    cluster.workspace().ok(&["submit", "sweep.yaml"]);
    eventually("two refusals", || receiver.with(|heard| heard.refused == 2).then_some(()));
    let leader = cluster.leader();
    cluster.kill_coordinator(leader);
    eventually("a delivery by the next leader", || receiver.with(|heard| !heard.taken.is_empty()).then_some(()));
    cluster.start_coordinator(leader);
    let is_end = |(_, notice): &(String, Value)| notice["event"] == "finished";
    eventually("the end", || receiver.with(|heard| heard.taken.iter().any(is_end)).then_some(()));
    let shown = cluster.workspace().ok(&["show", "killed", "-o", "json"]).json()["sweep"].clone();
    assert_eq!(shown["notify"][0]["given_up"], Value::Null, "{shown}");
    let (_, audit) = cluster.audit(&Expected::trials(trials));
    let mut taken = receiver.with(|heard| heard.taken.clone());
    for (id, notice) in &taken {
        assert_eq!(notice["id"], id.as_str());
    }
    taken.dedup_by(|later, earlier| later.0 == earlier.0);
    let places: Vec<u64> =
        taken.iter().map(|(id, _)| id.rsplit_once('-').expect("a place").1.parse().expect("a number")).collect();
    assert!(places.windows(2).all(|pair| pair[0] < pair[1]), "in order, and repeated only at once: {places:?}");
    let (end, bests) = taken.split_last().expect("the end");
    let values: Vec<f64> = bests.iter().map(|(_, best)| best["value"].as_f64().expect("a number")).collect();
    assert!(values.windows(2).all(|pair| pair[1] < pair[0]), "{values:?}");
    assert_eq!(
        (&end.1["event"], &end.1["value"]),
        (&Value::from("finished"), &Value::from(*values.last().expect("a best")))
    );
    assert_eq!(audit.best().map(|best| best.1), end.1["value"].as_f64(), "none is missing: the last told is the best");
}
