//! The GPUs of the machine, as far as its trials are concerned: which of them a trial sees, whether they are free again
//! once it has ended, and which must not be leased now.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use heats_domain::resources::Gpu;
use heats_wire::v1;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::inventory::{self, Device, GpuSource, Maker, User};
use crate::proc;

/// How often is looked at them while nothing happens.
const LOOK: Duration = Duration::from_secs(5);
/// How long a driver may take to answer.
const ANSWER_WAIT: Duration = Duration::from_secs(10);
/// How long the end of an attempt waits for its GPUs to be free: a driver tidies up within a second or two.
const FREE_WAIT: Duration = Duration::from_secs(20);
const FREE_TICK: Duration = Duration::from_millis(100);

/// What becomes of a GPU that processes of others use.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum BusyGpus {
    /// `offer`: it is leased all the same: a desktop's screen need not keep trials from it.
    #[default]
    Offer,
    /// `hide`: it is not leased until they are gone.
    Hide,
}

impl FromStr for BusyGpus {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "offer" => Ok(Self::Offer),
            "hide" => Ok(Self::Hide),
            other => Err(format!("`{other}` is not one of offer, hide")),
        }
    }
}

/// The machine's GPUs.
#[derive(Debug)]
pub struct Gpus {
    source: Arc<dyn GpuSource>,
    busy: BusyGpus,
    /// Those that this agent offers, by index: another agent of the machine may offer others.
    offered: BTreeSet<u32>,
    /// See [`FREE_WAIT`].
    free_wait: Duration,
    /// As they were when the agent started.
    devices: Vec<Device>,
    /// One look at a time: a driver that hangs must not take a thread for each.
    looking: Arc<tokio::sync::Mutex<()>>,
    /// How many attempts hold each of them.
    lent: Arc<Mutex<BTreeMap<u32, u32>>>,
    /// What ended attempts have not left in time.
    remains: Mutex<Vec<(Used, Trace)>>,
    unusable: watch::Sender<Vec<v1::UnusableGpu>>,
}

/// GPUs in the hands of an attempt, until this is dropped.
#[derive(Debug)]
pub struct Loan {
    used: Used,
    lent: Arc<Mutex<BTreeMap<u32, u32>>>,
}

/// Which GPUs an attempt has, and who used them before it began: these processes are none of its own.
#[derive(Clone, Debug, Default)]
struct Used {
    gpus: Vec<u32>,
    before: BTreeSet<u32>,
}

/// How the processes of an attempt are known.
#[derive(Clone, Debug)]
pub struct Trace {
    /// The session that they were started in, where it is known.
    pub session: Option<i32>,
    /// A variable that they were started with: `NAME=value`.
    pub mark: String,
}

/// Those of a machine that has none.
impl Default for Gpus {
    fn default() -> Self {
        Self {
            source: inventory::Gpus::None.source(),
            busy: BusyGpus::default(),
            offered: BTreeSet::new(),
            free_wait: FREE_WAIT,
            devices: Vec::new(),
            looking: Arc::default(),
            lent: Arc::default(),
            remains: Mutex::default(),
            unusable: watch::Sender::default(),
        }
    }
}

impl Gpus {
    /// Looks at those of `source`, of which this agent offers `offered`.
    pub async fn look(source: Arc<dyn GpuSource>, busy: BusyGpus, offered: &[Gpu]) -> Self {
        let offered = offered.iter().map(|gpu| gpu.index).collect();
        let mut gpus = Self { source, busy, offered, ..Self::default() };
        gpus.devices = gpus.seen().await.unwrap_or_default();
        gpus.look_again().await;
        gpus
    }

    /// The variables by which a trial sees the GPUs `granted`, and no other. With nothing granted they are empty: a trial
    /// that asked for no GPU must not take one that another leases. `None` on a machine without GPUs: there they stay
    /// as they are.
    pub fn visible(&self, granted: &[u32]) -> Option<[(&'static str, String); 2]> {
        // Another agent of this machine may offer what this one does not.
        if self.devices.iter().all(|device| device.fault.is_some()) {
            return None;
        }
        let seen_by = |maker: Maker| {
            let devices = granted.iter().filter_map(|index| self.devices.iter().find(|d| d.gpu.index == *index));
            let ours = devices.filter(|device| device.maker == maker || device.maker == Maker::Fake);
            ours.map(Device::handle).collect::<Vec<_>>().join(",")
        };
        Some([("CUDA_VISIBLE_DEVICES", seen_by(Maker::Nvidia)), ("ROCR_VISIBLE_DEVICES", seen_by(Maker::Amd))])
    }

    /// The GPUs `granted`, by maker and by what the maker's software calls them. Those that are pretended are none.
    pub fn handles(&self, granted: &[u32]) -> Vec<(Maker, String)> {
        let devices = granted.iter().filter_map(|index| self.devices.iter().find(|d| d.gpu.index == *index));
        let real = devices.filter(|device| device.maker != Maker::Fake);
        real.map(|device| (device.maker, device.handle())).collect()
    }

    /// Lends the GPUs `granted` to an attempt that is about to begin.
    pub async fn lend(&self, granted: &[u32]) -> Loan {
        let mut loan = self.lent_before(granted);
        if !granted.is_empty() {
            let devices = self.seen().await.unwrap_or_default();
            loan.used.before = of(&devices, granted).flat_map(|device| &device.users).map(|user| user.pid).collect();
        }
        loan
    }

    /// Those `granted` to an attempt that an earlier agent began. Who used them before it, nobody knows any more.
    pub fn lent_before(&self, granted: &[u32]) -> Loan {
        let mut lent = locked(&self.lent);
        for index in granted {
            *lent.entry(*index).or_default() += 1;
        }
        let used = Used { gpus: granted.to_vec(), before: BTreeSet::new() };
        Loan { used, lent: self.lent.clone() }
    }

    /// Takes them back once no process of the attempt, which has ended, is seen on them. After some time the attempt is let
    /// go all the same, and they must not be leased until they are seen free.
    pub async fn take_back(&self, loan: Loan, trace: Trace) {
        if loan.used.gpus.is_empty() {
            return;
        }
        let deadline = Instant::now() + self.free_wait;
        loop {
            if let Some(devices) = self.seen().await
                && left(&devices, &loan.used, &trace).is_empty()
            {
                return;
            }
            if Instant::now() >= deadline {
                break;
            }
            tokio::time::sleep(FREE_TICK).await;
        }
        tracing::warn!(gpus = ?loan.used.gpus, "GPUs of an attempt that has ended are not free");
        locked(&self.remains).push((loan.used.clone(), trace));
        self.look_again().await;
    }

    /// Those of the agent's that must not be leased now, by index, with why.
    pub fn unusable(&self) -> Vec<v1::UnusableGpu> {
        self.unusable.borrow().clone()
    }

    /// Looks again and again, for as long as it is polled.
    pub async fn watch(&self) {
        if self.offered.is_empty() {
            return;
        }
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            look.tick().await;
            self.look_again().await;
        }
    }

    async fn look_again(&self) {
        let now = self.seen().await;
        if let Some(devices) = &now {
            locked(&self.remains).retain(|(used, trace)| !left(devices, used, trace).is_empty());
        }
        let unusable: Vec<v1::UnusableGpu> = self
            .devices
            .iter()
            .filter(|device| self.offered.contains(&device.gpu.index))
            .filter_map(|device| {
                let index = device.gpu.index;
                let now = now.as_ref().map(|devices| devices.iter().find(|now| is_same(now, device)));
                self.barred(index, now).map(|why| v1::UnusableGpu { index, why })
            })
            .collect();
        self.unusable.send_if_modified(|before| {
            let has_changed = *before != unusable;
            if has_changed {
                tracing::info!(?unusable, "other GPUs than before must not be leased");
                *before = unusable;
            }
            has_changed
        });
    }

    /// Why the GPU must not be leased. `now` is `None` where the driver does not answer, and has none where the GPU is gone.
    fn barred(&self, index: u32, now: Option<Option<&Device>>) -> Option<String> {
        let device = match now {
            None => return Some("its driver does not answer".to_owned()),
            Some(None) => return Some("it is not there any more".to_owned()),
            Some(Some(device)) => device,
        };
        if let Some(fault) = &device.fault {
            return Some(fault.clone());
        }
        if locked(&self.remains).iter().any(|(used, _)| used.gpus.contains(&index)) {
            return Some("processes of a trial that has ended still use it".to_owned());
        }
        let is_lent = locked(&self.lent).get(&index).is_some_and(|attempts| *attempts > 0);
        match self.busy {
            // Of one that is lent, nobody can tell whose processes come.
            BusyGpus::Hide if !is_lent => device.use_by(&device.users),
            BusyGpus::Hide | BusyGpus::Offer => None,
        }
    }

    /// All of them now; `None` where the driver does not answer.
    async fn seen(&self) -> Option<Vec<Device>> {
        let looked = async {
            let one_at_a_time = self.looking.clone().lock_owned().await;
            let source = self.source.clone();
            let look = tokio::task::spawn_blocking(move || {
                let devices = source.look();
                drop(one_at_a_time);
                devices
            });
            look.await.ok()
        };
        tokio::time::timeout(ANSWER_WAIT, looked).await.ok().flatten()
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        let mut lent = locked(&self.lent);
        for index in &self.used.gpus {
            if let Some(attempts) = lent.get_mut(index) {
                *attempts = attempts.saturating_sub(1);
            }
        }
    }
}

impl Trace {
    /// Whether the process is alive and somebody else's. What is not there any more, or only waits to be reaped, and still
    /// has memory of a GPU, is what the attempt left.
    fn is_another(&self, user: &User) -> bool {
        let Some(stat) = i32::try_from(user.pid).ok().and_then(proc::stat) else { return false };
        !stat.zombie && Some(stat.session) != self.session && !proc::is_marked(stat.pid, &self.mark)
    }
}

/// Those of an attempt's processes that use its GPUs still.
fn left<'a>(devices: &'a [Device], used: &Used, trace: &Trace) -> Vec<&'a User> {
    let users = of(devices, &used.gpus).flat_map(|device| &device.users);
    users.filter(|user| !used.before.contains(&user.pid) && !trace.is_another(user)).collect()
}

fn of<'a>(devices: &'a [Device], indices: &[u32]) -> impl Iterator<Item = &'a Device> {
    devices.iter().filter(|device| indices.contains(&device.gpu.index))
}

/// By its name where it has one: what has fallen off the bus may shift the others.
fn is_same(one: &Device, other: &Device) -> bool {
    one.gpu.uuid == other.gpu.uuid && (!one.gpu.uuid.is_empty() || one.gpu.index == other.gpu.index)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
pub mod testing {
    use super::*;

    /// A GPU of `maker` that has nothing wrong with it.
    pub fn device(index: u32, maker: Maker, uuid: &str) -> Device {
        let gpu = Gpu { index, model: "H100".into(), memory: 80 << 30, uuid: uuid.into(), ..Gpu::default() };
        Device { gpu, maker, ordinal: index, fault: None, users: Vec::new() }
    }

    /// A machine whose GPUs are what a test says.
    #[derive(Debug)]
    pub struct Bench {
        devices: Mutex<Vec<Device>>,
        looks: watch::Sender<u32>,
    }

    impl Bench {
        pub fn of(devices: Vec<Device>) -> Arc<Self> {
            Arc::new(Self { devices: Mutex::new(devices), looks: watch::Sender::default() })
        }

        pub fn change(&self, index: usize, change: impl FnOnce(&mut Device)) {
            change(&mut locked(&self.devices)[index]);
        }

        pub fn remove(&self, index: usize) {
            locked(&self.devices).remove(index);
        }

        /// Returns once it was looked at so many times more.
        pub async fn is_looked_at(&self, times: u32) {
            let mut looks = self.looks.subscribe();
            let seen = *looks.borrow();
            looks.wait_for(|looks| *looks >= seen + times).await.expect("the sender lives");
        }
    }

    impl GpuSource for Bench {
        fn look(&self) -> Vec<Device> {
            let devices = locked(&self.devices).clone();
            self.looks.send_modify(|looks| *looks += 1);
            devices
        }
    }

    /// An agent that offers all of the machine's GPUs.
    pub async fn all_of(bench: &Arc<Bench>, busy: BusyGpus) -> Gpus {
        let offered: Vec<Gpu> = bench.look().into_iter().map(|device| device.gpu).collect();
        Gpus::look(bench.clone(), busy, &offered).await
    }

    /// The GPUs of a machine.
    pub fn gpus(devices: Vec<Device>) -> Gpus {
        let runtime = tokio::runtime::Runtime::new().expect("starts");
        runtime.block_on(all_of(&Bench::of(devices), BusyGpus::Offer))
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{Bench, all_of, device, gpus};
    use super::*;

    #[test]
    fn a_trial_sees_what_it_was_granted_by_the_variable_of_its_maker() {
        let amd = |index, ordinal| Device { ordinal, ..device(index, Maker::Amd, "") };
        let machine = gpus(vec![device(0, Maker::Nvidia, "GPU-a"), device(1, Maker::Nvidia, "MIG-b"), amd(2, 0)]);
        let seen = |granted: &[u32]| machine.visible(granted).expect("offers some").map(|(_, list)| list);
        assert_eq!(seen(&[0, 1]), ["GPU-a,MIG-b", ""]);
        assert_eq!(seen(&[1, 2]), ["MIG-b", "0"], "without a UUID, the number among those of its maker");
        assert_eq!(seen(&[]), ["", ""]);
        let fake = gpus(vec![device(0, Maker::Fake, ""), device(1, Maker::Fake, "")]);
        assert_eq!(fake.visible(&[1]).expect("offers some").map(|(_, list)| list), ["1", "1"]);
    }

    #[test]
    fn where_nobody_offers_a_gpu_the_variables_are_left_alone() {
        assert_eq!(gpus(Vec::new()).visible(&[]), None);
        let broken = Device { fault: Some("broken".into()), ..device(0, Maker::Nvidia, "GPU-a") };
        assert_eq!(gpus(vec![broken]).visible(&[]), None);
    }

    /// A process that nobody has.
    const GONE: User = User { pid: 0x3fff_ffff, memory: 1 << 30 };

    fn two() -> Arc<Bench> {
        Bench::of(vec![device(0, Maker::Nvidia, "GPU-a"), device(1, Maker::Nvidia, "GPU-b")])
    }

    fn trace() -> Trace {
        Trace { session: None, mark: "HEATS_API_SOCK=/nobody's".into() }
    }

    #[tokio::test]
    async fn an_attempt_is_over_once_its_gpus_are_seen_free() {
        let bench = two();
        let machine = Arc::new(all_of(&bench, BusyGpus::Offer).await);
        let stranger = User { pid: 0x3fff_fffe, memory: 7 };
        bench.change(0, |gpu| gpu.users = vec![stranger]);
        let loan = machine.lend(&[0]).await;
        // Who was there before, and who is alive and another, does not count.
        let alive = User { pid: std::process::id(), memory: 7 };
        bench.change(0, |gpu| gpu.users = vec![stranger, alive, GONE]);
        let taker = machine.clone();
        let back = tokio::spawn(async move { taker.take_back(loan, trace()).await });
        bench.is_looked_at(3).await;
        assert!(!back.is_finished(), "what the attempt left is there");
        bench.change(0, |gpu| gpu.users = vec![stranger, alive]);
        back.await.expect("is free");
        assert_eq!(machine.unusable(), []);
    }

    #[tokio::test]
    async fn gpus_that_do_not_get_free_are_not_leased_until_they_are() {
        let bench = two();
        let machine = Gpus { free_wait: Duration::ZERO, ..all_of(&bench, BusyGpus::Offer).await };
        let loan = machine.lend(&[1]).await;
        bench.change(1, |gpu| gpu.users = vec![GONE]);
        machine.take_back(loan, trace()).await;
        let [v1::UnusableGpu { index: 1, why }] = &machine.unusable()[..] else { panic!("the second alone") };
        assert!(why.contains("has ended"), "{why}");
        bench.change(1, |gpu| gpu.users.clear());
        machine.look_again().await;
        assert_eq!(machine.unusable(), []);
    }

    #[tokio::test]
    async fn a_gpu_that_fails_is_gone_or_is_used_by_others_must_not_be_leased() {
        let bench = two();
        let machine = all_of(&bench, BusyGpus::Hide).await;
        let why = async || {
            machine.look_again().await;
            machine.unusable().into_iter().map(|gpu| (gpu.index, gpu.why)).collect::<Vec<_>>()
        };
        assert_eq!(why().await, []);
        bench.change(0, |gpu| gpu.fault = Some("it is too hot".into()));
        assert_eq!(why().await, [(0, "it is too hot".into())]);
        bench.change(0, |gpu| (gpu.fault, gpu.users) = (None, vec![User { pid: 7, memory: 3 << 20 }]));
        assert_eq!(why().await, [(0, "in use by process 7, 3 MiB".into())]);
        let loan = machine.lend(&[0]).await;
        assert_eq!(why().await, [], "it may be the trial's own");
        drop(loan);
        bench.remove(0);
        // The other one has moved to its place.
        bench.change(0, |gpu| gpu.gpu.index = 0);
        assert_eq!(why().await, [(0, "it is not there any more".into())]);
    }
}
