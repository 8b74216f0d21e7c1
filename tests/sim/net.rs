//! The network: who can reach whom, how long it takes, what is lost on the way. It knows nothing about what it carries
//! but one thing: an agent's stream arrives in order or breaks, consensus messages may do as they like.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use heats_testkit::Seen;
use heats_wire::v1;

use crate::chance::Dice;
use crate::operator::Order;
use crate::program::Demand;

/// Who sends and receives. A coordinator's second life does not receive what was meant for its first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Place {
    Node { id: u64, life: u32 },
    Agent(usize),
    Client(usize),
    Program,
    Operator,
}

impl Place {
    /// The machine, whatever runs on it.
    const fn machine(self) -> Self {
        match self {
            Self::Node { id, .. } => Self::Node { id, life: 0 },
            other @ (Self::Agent(_) | Self::Client(_) | Self::Program | Self::Operator) => other,
        }
    }
}

/// What is carried.
#[derive(Clone, Debug)]
pub enum Parcel {
    /// A question of consensus, and its answer.
    Ask {
        call: u64,
        data: Bytes,
    },
    Answer {
        call: u64,
        data: Bytes,
    },
    /// Nobody is there to answer.
    Refused {
        call: u64,
    },
    /// An agent's stream: opened, said, answered, over (with the leader's address, where whoever closes it knows).
    Open {
        stream: u64,
    },
    Up {
        stream: u64,
        message: v1::FromAgent,
    },
    Down {
        stream: u64,
        message: v1::ToAgent,
    },
    Closed {
        stream: u64,
        leader: Option<u64>,
    },
    /// A client's request, and the outcome.
    Request {
        call: u64,
        request: Request,
    },
    Reply {
        call: u64,
        reply: Reply,
    },
}

/// What clients and operators ask.
#[derive(Clone, PartialEq, Debug)]
pub enum Request {
    Submit(v1::SubmitRequest),
    Read(u64),
    /// The first trials of a sweep, one by one.
    Trials(u64),
    Control {
        sweep: u64,
        pause: bool,
    },
    Grow {
        sweep: u64,
        trials: u32,
    },
    Study(Demand),
    Operate(Order),
}

/// What they are told.
#[derive(Clone, PartialEq, Debug)]
pub enum Reply {
    /// The sweep's id, and whether it was there already.
    Submitted {
        sweep: u64,
        existed: bool,
    },
    /// What the sweep looked like at this log index.
    Sweep {
        log_index: u64,
        created: u32,
        trials: u32,
    },
    /// What its trials looked like.
    Trials {
        log_index: u64,
        trials: Vec<Seen>,
    },
    Done {
        log_index: u64,
    },
    /// The id of a study or of a trial of one.
    Made(i64),
    /// Whether the trial stands where it was to because of this.
    Moved(bool),
    /// Who belongs to the cluster now, and who of them votes.
    Members(Vec<(u64, bool)>),
    Obeyed,
    /// Who leads, where that is why.
    No {
        leader: Option<u64>,
        for_good: bool,
    },
}

struct Sent {
    to: Place,
    from: Place,
    parcel: Parcel,
}

/// One agent's connection to one coordinator.
struct Stream {
    agent: Place,
    node: Place,
    up: VecDeque<(Duration, Parcel)>,
    down: VecDeque<(Duration, Parcel)>,
}

struct Inner {
    now: Duration,
    dice: Dice,
    number: u64,
    due: BinaryHeap<Reverse<(Duration, u64)>>,
    sent: BTreeMap<u64, Sent>,
    streams: BTreeMap<u64, Stream>,
    /// The coordinators that there are, as whoever has to find one is told.
    known: BTreeSet<u64>,
    cut: BTreeSet<(Place, Place)>,
    loss: f64,
    repeats: f64,
    /// The longest way, in milliseconds.
    slowest_ms: u64,
}

/// The network; clones are the same one.
#[derive(Clone)]
pub struct Net {
    inner: Arc<Mutex<Inner>>,
}

impl Net {
    pub fn new(dice: Dice) -> Self {
        let inner = Inner {
            now: Duration::ZERO,
            dice,
            number: 0,
            due: BinaryHeap::new(),
            sent: BTreeMap::new(),
            streams: BTreeMap::new(),
            known: BTreeSet::new(),
            cut: BTreeSet::new(),
            loss: 0.0,
            repeats: 0.0,
            slowest_ms: 4,
        };
        Self { inner: Arc::new(Mutex::new(inner)) }
    }

    /// Sends a parcel on its way.
    pub fn send(&self, from: Place, to: Place, parcel: Parcel) {
        let mut inner = self.lock();
        let arrives = inner.arrives();
        match &parcel {
            Parcel::Up { stream, .. } | Parcel::Down { stream, .. } | Parcel::Open { stream } => {
                let is_up = !matches!(parcel, Parcel::Down { .. });
                // What is sent into a stream that broke is lost.
                let Some(stream) = inner.streams.get_mut(stream) else { return };
                let way = if is_up { &mut stream.up } else { &mut stream.down };
                let arrives = way.back().map_or(arrives, |(last, _)| arrives.max(*last));
                way.push_back((arrives, parcel));
            }
            Parcel::Closed { stream, .. } => {
                let Some(stream) = inner.streams.remove(stream) else { return };
                // Whatever is on its way in this direction arrives first; the other direction's is lost.
                let (way, other) =
                    if from == stream.agent { (stream.up, stream.node) } else { (stream.down, stream.agent) };
                let last = way.back().map_or(arrives, |(last, _)| arrives.max(*last));
                for (_, parcel) in way {
                    inner.post(last, from, other, parcel);
                }
                inner.post(last, from, other, parcel);
            }
            Parcel::Ask { .. } | Parcel::Answer { .. } => {
                let (loss, repeats) = (inner.loss, inner.repeats);
                if inner.dice.chance(loss) {
                    return;
                }
                if inner.dice.chance(repeats) {
                    let again = inner.arrives() + inner.arrives();
                    inner.post(again, from, to, parcel.clone());
                }
                inner.post(arrives, from, to, parcel);
            }
            Parcel::Request { .. } | Parcel::Reply { .. } | Parcel::Refused { .. } => {
                let loss = inner.loss;
                if !inner.dice.chance(loss) {
                    inner.post(arrives, from, to, parcel);
                }
            }
        }
    }

    /// Opens a stream from an agent to a coordinator: its number.
    pub fn open(&self, agent: Place, node: Place) -> u64 {
        let number = {
            let mut inner = self.lock();
            inner.number += 1;
            let number = inner.number;
            inner.streams.insert(number, Stream { agent, node, up: VecDeque::new(), down: VecDeque::new() });
            number
        };
        self.send(agent, node, Parcel::Open { stream: number });
        number
    }

    /// Breaks every stream of a machine: both ends are told where they can be.
    pub fn break_streams(&self, machine: Place) {
        let mut inner = self.lock();
        let of = |stream: &Stream| stream.agent == machine.machine() || stream.node.machine() == machine.machine();
        let broken: Vec<u64> = inner.streams.iter().filter(|(_, stream)| of(stream)).map(|(id, _)| *id).collect();
        for id in broken {
            if let Some(stream) = inner.streams.remove(&id) {
                let closed = Parcel::Closed { stream: id, leader: None };
                let arrives = inner.arrives();
                inner.post(arrives, stream.node, stream.agent, closed.clone());
                inner.post(arrives, stream.agent, stream.node, closed);
            }
        }
    }

    /// From now on there is this coordinator.
    pub fn know(&self, node: u64) {
        self.lock().known.insert(node);
    }

    /// There is not, any more.
    pub fn forget(&self, node: u64) {
        self.lock().known.remove(&node);
    }

    /// One of the coordinators that there are.
    pub fn somebody(&self, dice: &mut Dice) -> u64 {
        let known: Vec<u64> = self.lock().known.iter().copied().collect();
        dice.pick(&known).unwrap_or(1)
    }

    /// A number that nothing else has.
    pub fn number(&self) -> u64 {
        let mut inner = self.lock();
        inner.number += 1;
        inner.number
    }

    /// Moves the time on; what arrives by then, with who sent it.
    pub fn arrive(&self, now: Duration) -> Vec<(Place, Place, Parcel)> {
        let mut inner = self.lock();
        inner.now = now;
        let mut arrived = Vec::new();
        while let Some(Reverse((at, number))) = inner.due.peek().copied().filter(|Reverse((at, _))| *at <= now) {
            let _ = at;
            inner.due.pop();
            if let Some(Sent { to, from, parcel }) = inner.sent.remove(&number)
                && !inner.cut.contains(&(from.machine(), to.machine()))
            {
                arrived.push((from, to, parcel));
            }
        }
        let Inner { streams, cut, .. } = &mut *inner;
        for Stream { agent, node, up, down } in streams.values_mut() {
            // A cut holds a stream up; whoever waits too long breaks it.
            let (agent, node) = (*agent, *node);
            for (way, from, to) in [(up, agent, node), (down, node, agent)] {
                if cut.contains(&(from.machine(), to.machine())) {
                    continue;
                }
                while way.front().is_some_and(|(at, _)| *at <= now) {
                    arrived.extend(way.pop_front().map(|(_, parcel)| (from, to, parcel)));
                }
            }
        }
        arrived
    }

    /// What `from` sends does not reach `to` any more.
    pub fn cut(&self, from: Place, to: Place) {
        self.lock().cut.insert((from.machine(), to.machine()));
    }

    /// Everybody reaches everybody.
    pub fn heal(&self) {
        self.lock().cut.clear();
    }

    /// How bad the network is: what part is lost, what part comes twice, the longest way in milliseconds.
    pub fn set_quality(&self, loss: f64, repeats: f64, slowest_ms: u64) {
        let mut inner = self.lock();
        (inner.loss, inner.repeats, inner.slowest_ms) = (loss, repeats, slowest_ms);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn arrives(&mut self) -> Duration {
        let slowest = self.slowest_ms * 1_000;
        self.now + Duration::from_micros(self.dice.between(100, slowest.max(101)))
    }

    fn post(&mut self, at: Duration, from: Place, to: Place, parcel: Parcel) {
        self.number += 1;
        self.due.push(Reverse((at, self.number)));
        self.sent.insert(self.number, Sent { to, from, parcel });
    }
}
