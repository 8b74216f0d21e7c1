//! GPUs that a test makes up, so that no machine needs any: what a coordinator is told of those that fail, and when it is
//! told that an attempt which held some has ended.

use std::sync::{Arc, Mutex};

use heats_agent::inventory::{Device, GpuSource, Maker, User};
use heats_agent::{Agent, AgentConfig};
use heats_domain::resources::Gpu;
use heats_domain::{Grant, Inventory};
use heats_wire::v1::{self, to_agent};
use tokio::sync::watch;

use crate::fake::{run, shell};
use crate::house::House;

/// One GPU, which is as the test says.
#[derive(Debug)]
struct Bench {
    device: Mutex<Device>,
    looks: watch::Sender<u32>,
}

impl Bench {
    fn new() -> Arc<Self> {
        let gpu = Gpu { index: 3, model: "H100".into(), memory: 1 << 30, uuid: "GPU-5a".into(), ..Gpu::default() };
        let device = Device { gpu, maker: Maker::Nvidia, ordinal: 3, fault: None, users: Vec::new() };
        Arc::new(Self { device: Mutex::new(device), looks: watch::Sender::default() })
    }

    fn change(&self, change: impl FnOnce(&mut Device)) {
        change(&mut self.device.lock().expect("not poisoned"));
    }

    async fn is_looked_at(&self, times: u32) {
        let mut looks = self.looks.subscribe();
        let seen = *looks.borrow();
        looks.wait_for(|looks| *looks >= seen + times).await.expect("the sender lives");
    }
}

impl GpuSource for Bench {
    fn look(&self) -> Vec<Device> {
        let device = self.device.lock().expect("not poisoned").clone();
        self.looks.send_modify(|looks| *looks += 1);
        vec![device]
    }
}

async fn agent(house: &House, bench: &Arc<Bench>) -> Agent {
    let config = house.config();
    let gpus = bench.look().into_iter().map(|device| device.gpu).collect();
    let inventory = Inventory { gpus, ..config.inventory.clone() };
    Agent::start(AgentConfig { inventory, gpus: bench.clone(), ..config }).await.expect("the agent starts")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_that_held_a_gpu_is_told_to_have_ended_once_that_is_seen_free() {
    let house = House::new().await;
    let bench = Bench::new();
    let _agent = agent(&house, &bench).await;
    house.fake.attached().await;
    let out = house.file("seen").display().to_string();
    let script = format!("echo $CUDA_VISIBLE_DEVICES > {out}; cat {} > /dev/null", house.gate("gate"));
    let grant = Some(Grant { cpus: 1, gpus: vec![3], ..Grant::default() });
    house.fake.tell(to_agent::Message::Run(v1::Run { grant, ..run(0, 1, shell(&script)) })).await;
    house.fake.started(0).await;
    // A process that nobody has: what a driver shows of one that has just been killed.
    bench.change(|gpu| gpu.users = vec![User { pid: 0x3fff_ffff, memory: 1 << 20 }]);
    house.open_gate("gate").await;
    house.has_ended(0).await;
    bench.is_looked_at(3).await;
    assert!(house.fake.seen(|seen| seen.finished.is_empty()), "its GPU is not free");
    bench.change(|gpu| gpu.users.clear());
    house.fake.finished(0).await;
    assert_eq!(std::fs::read_to_string(out).expect("the trial wrote it"), "GPU-5a\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_coordinator_is_told_of_a_gpu_that_fails_and_that_it_is_well_again() {
    let house = House::new().await;
    let bench = Bench::new();
    let _agent = agent(&house, &bench).await;
    house.fake.attached().await;
    let told = async |some: bool| {
        let gpus = house.fake.wait("its condition", |seen| {
            let gpus = seen.condition.as_ref()?.gpus.clone();
            (gpus.is_empty() != some).then_some(gpus)
        });
        gpus.await.into_iter().map(|gpu| (gpu.index, gpu.why)).collect::<Vec<_>>()
    };
    bench.change(|gpu| gpu.fault = Some("it is too hot".into()));
    assert_eq!(told(true).await, [(3, "it is too hot".to_owned())]);
    bench.change(|gpu| gpu.fault = None);
    assert_eq!(told(false).await, []);
}
