//! A coordinator over TLS, and callers with certificates of every kind: what each may call, and that an agent speaks for
//! itself alone.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::path::PathBuf;
use std::time::Duration;

use heats_coordinator::{Coordinator, CoordinatorConfig};
use heats_domain::{AgentId, Inventory};
use heats_tls::{
    Authority, Dialer, Expect, Files, Identity, Issued, OwnFiles, Request as Csr, Security, Who, write_private,
    write_public,
};
use heats_wire::v1::agents_client::AgentsClient;
use heats_wire::v1::cluster_client::ClusterClient;
use heats_wire::v1::from_agent::Message;
use heats_wire::v1::raft_client::RaftClient;
use heats_wire::v1::sweeps_client::SweepsClient;
use heats_wire::v1::tokens_client::TokensClient;
use heats_wire::v1::{self, to_agent};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Streaming};

/// Nothing here takes longer on a machine that works; a test that hangs fails by this.
const PATIENCE: Duration = Duration::from_secs(30);
const DAY: Duration = Duration::from_secs(24 * 3_600);
const SECRET: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// A coordinator that leads a cluster of its own, and who vouches for whom there.
struct House {
    coordinator: Coordinator,
    main: Authority,
    agents: Authority,
    dir: TempDir,
}

impl House {
    async fn open() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let (main, own) = Authority::make("lab", "CA").unwrap();
        write_public(&at("ca.pem"), &own.certificate).unwrap();
        let (agents, own) = Authority::make("lab", "agents CA").unwrap();
        write_public(&at("agents.pem"), &own.certificate).unwrap();
        write_private(&at("agents.key"), &own.key).unwrap();
        let issued = main.issue(Who::Coordinator(1), &["127.0.0.1".to_owned()], DAY).unwrap();
        let identity = identity(&dir, "node", &issued);
        let config = CoordinatorConfig {
            security: Security::Tls(identity),
            agents_authority: Some(OwnFiles { certificate: at("agents.pem"), key: at("agents.key") }),
            ..CoordinatorConfig::single(at("data"), "127.0.0.1:0".parse().unwrap())
        };
        let coordinator = Coordinator::start(config).await.unwrap();
        let house = Self { coordinator, main, agents, dir };
        let mut sweeps = SweepsClient::new(house.admin());
        tokio::time::timeout(PATIENCE, async {
            while sweeps.status(v1::StatusRequest {}).await.unwrap().into_inner().leader.is_none() {
                tokio::task::yield_now().await;
            }
        })
        .await
        .unwrap();
        house
    }

    fn channel(&self, identity: Identity) -> Channel {
        let dialer = Dialer::new(Security::Tls(identity), Expect::AnyCoordinator);
        let endpoint = Endpoint::from_shared(format!("http://{}", self.coordinator.address())).unwrap();
        endpoint.connect_with_connector_lazy(dialer)
    }

    /// A channel of somebody whom the authority in question vouches for.
    fn of(&self, who: Who) -> Channel {
        let by = if matches!(who, Who::Agent(_)) { &self.agents } else { &self.main };
        self.channel(identity(&self.dir, "own", &by.issue(who, &["127.0.0.1".to_owned()], DAY).unwrap()))
    }

    fn admin(&self) -> Channel {
        self.of(Who::Admin("ops".into()))
    }

    /// A channel of somebody who shows no certificate.
    fn nobody(&self) -> Channel {
        self.channel(Identity::load(Files { ca: self.at("ca.pem"), own: None, agents_ca: None }).unwrap())
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A join token, as its bearer shows it.
    async fn join_token(&self) -> String {
        let hash = blake3::hash(SECRET.as_bytes()).as_bytes().to_vec();
        let request = v1::CreateTokenRequest { role: v1::Role::Agent.into(), hash, uses_max: 9, ..Default::default() };
        let made = TokensClient::new(self.admin()).create(request).await.unwrap().into_inner();
        format!("Bearer {}.{SECRET}.pin", made.token.unwrap())
    }

    /// An agent of two processors attaches, over its own certificate, as whoever it says.
    async fn attach(&self, certificate: AgentId, says: AgentId) -> Result<Agent, tonic::Status> {
        let (outbox, inbox) = mpsc::channel(64);
        let hello = v1::Hello {
            agent: Some(says),
            name: "test".into(),
            inventory: Some(Inventory { cpus: 1, memory: 1 << 30, gpus: vec![], ..Inventory::default() }),
            ..Default::default()
        };
        outbox.send(v1::FromAgent { seq: 1, message: Some(Message::Hello(hello)) }).await.unwrap();
        let mut client = AgentsClient::new(self.of(Who::Agent(certificate)));
        let stream = client.attach(ReceiverStream::new(inbox)).await?.into_inner();
        Ok(Agent { outbox, stream, seq: 1 })
    }
}

fn identity(dir: &TempDir, name: &str, issued: &Issued) -> Identity {
    let at = |end: &str| dir.path().join(format!("{name}.{end}"));
    write_public(&at("pem"), &issued.certificate).unwrap();
    write_private(&at("key"), &issued.key).unwrap();
    let own = OwnFiles { certificate: at("pem"), key: at("key") };
    let (ca, agents_ca) = (dir.path().join("ca.pem"), Some(dir.path().join("agents.pem")));
    Identity::load(Files { ca, own: Some(own), agents_ca }).unwrap()
}

struct Agent {
    outbox: mpsc::Sender<v1::FromAgent>,
    stream: Streaming<v1::ToAgent>,
    seq: u64,
}

impl Agent {
    async fn say(&mut self, message: Message) {
        self.seq += 1;
        self.outbox.send(v1::FromAgent { seq: self.seq, message: Some(message) }).await.unwrap();
    }

    async fn hear<T>(&mut self, wanted: impl Fn(to_agent::Message) -> Option<T>) -> T {
        tokio::time::timeout(PATIENCE, async {
            loop {
                let message = self.stream.next().await.expect("the stream lives").unwrap().message.unwrap();
                if let Some(found) = wanted(message) {
                    return found;
                }
            }
        })
        .await
        .unwrap()
    }
}

const ANN: AgentId = AgentId { bits: 7 };
const EVE: AgentId = AgentId { bits: 8 };

#[tokio::test]
async fn only_a_coordinator_speaks_raft() {
    let house = House::open().await;
    for who in [Who::Agent(ANN), Who::Admin("ops".into()), Who::User("ann".into())] {
        let refused = RaftClient::new(house.of(who.clone())).exchange(tokio_stream::empty()).await;
        assert_eq!(refused.err().map(|status| status.code()), Some(Code::PermissionDenied), "{who}");
    }
    let refused = RaftClient::new(house.nobody()).exchange(tokio_stream::empty()).await;
    assert_eq!(refused.err().map(|status| status.code()), Some(Code::Unauthenticated));
    assert!(RaftClient::new(house.of(Who::Coordinator(2))).exchange(tokio_stream::empty()).await.is_ok());
}

#[tokio::test]
async fn a_coordinator_and_an_agent_are_no_users_and_a_user_is_no_admin() {
    let house = House::open().await;
    for who in [Who::Agent(ANN), Who::Coordinator(2)] {
        let refused = SweepsClient::new(house.of(who.clone())).list(v1::ListRequest::default()).await;
        assert_eq!(refused.err().map(|status| status.code()), Some(Code::PermissionDenied), "{who}");
    }
    let user = house.of(Who::User("ann".into()));
    assert!(SweepsClient::new(user.clone()).list(v1::ListRequest::default()).await.is_ok());
    let refused = ClusterClient::new(user.clone()).snapshot(v1::SnapshotRequest {}).await;
    assert_eq!(refused.err().map(|status| status.code()), Some(Code::PermissionDenied));
    let refused = TokensClient::new(user).list(v1::ListTokensRequest {}).await;
    assert_eq!(refused.err().map(|status| status.code()), Some(Code::PermissionDenied));
}

#[tokio::test]
async fn an_agent_attaches_as_itself_and_as_nobody_else() {
    let house = House::open().await;
    let refused = house.attach(EVE, ANN).await;
    assert_eq!(refused.err().map(|status| status.code()), Some(Code::PermissionDenied));
    assert!(house.attach(EVE, EVE).await.is_ok());
}

#[tokio::test]
async fn what_an_agent_says_about_a_trial_that_is_not_its_own_is_refused_and_changes_nothing() {
    let house = House::open().await;
    let mut sweeps = SweepsClient::new(house.admin());
    let spec = serde_json::json!({
        "name": "s", "command": ["true"], "space": {"x": {"float": [0.0, 1.0]}},
        "objective": {"minimize": "loss"}, "budget": {"trials": 1}
    });
    let request = v1::SubmitRequest { request: 1, spec: spec.to_string(), ..Default::default() };
    sweeps.submit(request).await.unwrap();
    let mut ann = house.attach(ANN, ANN).await.unwrap();
    let key = ann.hear(|message| if let to_agent::Message::Run(run) = message { run.key } else { None }).await;
    let key = Some(key);
    let mut eve = house.attach(EVE, EVE).await.unwrap();
    let metrics = Some([("loss", 0.25)].into_iter().collect());
    let end = Some(v1::End { kind: v1::end::Kind::Exited.into(), code: 0, signal: 0 });
    for message in [
        Message::Started(v1::Started { key, ..v1::Started::default() }),
        Message::Report(v1::Report { key, step: 1, metrics }),
        Message::Finished(v1::Finished { key, end, ..Default::default() }),
    ] {
        eve.say(message).await;
        let stopped = eve.hear(|message| if let to_agent::Message::Stop(stop) = message { Some(stop) } else { None });
        assert_eq!(stopped.await.key, key);
    }
    let request = v1::TrialRequest { sweep: "s".into(), trial: 0, sample: 0 };
    let trial = sweeps.trial(request.clone()).await.unwrap().into_inner().trial.unwrap();
    assert_eq!((trial.reports, trial.started_ms, trial.ended_ms), (0, None, None));
    // Its own agent is heard as before.
    let metrics = Some([("loss", 0.5)].into_iter().collect());
    ann.say(Message::Report(v1::Report { key, step: 1, metrics })).await;
    let seq = ann.seq;
    ann.hear(|message| matches!(message, to_agent::Message::Ack(v1::Ack { seq: up_to }) if up_to >= seq).then_some(()))
        .await;
    let trial = sweeps.trial(request).await.unwrap().into_inner().trial.unwrap();
    assert_eq!((trial.reports, trial.value), (1, Some(0.5)));
}

#[tokio::test]
async fn an_agent_that_joined_keeps_its_key_and_nobody_gets_a_certificate_in_its_place() {
    let house = House::open().await;
    let token = house.join_token().await;
    let join = |agent: AgentId, csr: &Csr| {
        let mut request = Request::new(v1::JoinRequest { agent: Some(agent), request: csr.request.clone() });
        request.metadata_mut().insert("authorization", token.parse().unwrap());
        let mut client = AgentsClient::new(house.nobody());
        async move { client.join(request).await }
    };
    let (own, other) = (Csr::make(None).unwrap(), Csr::make(None).unwrap());
    let joined = join(ANN, &own).await.unwrap().into_inner();
    assert_eq!(joined.ca, std::fs::read_to_string(house.at("ca.pem")).unwrap());
    assert!(join(ANN, &own).await.is_ok(), "the same again");
    let refused = join(ANN, &other).await.err().unwrap();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert_eq!(refused.metadata().get("heats-code").unwrap(), "H0019");

    let issued = Issued { certificate: joined.certificate, key: own.key.clone() };
    let mut agent = AgentsClient::new(house.channel(identity(&house.dir, "agent", &issued)));
    let renewed = agent.renew(v1::RenewRequest { request: own.request }).await.unwrap().into_inner();
    identity(&house.dir, "agent", &Issued { certificate: renewed.certificate, key: own.key });
    let refused = agent.renew(v1::RenewRequest { request: other.request }).await;
    assert_eq!(refused.err().map(|status| status.code()), Some(Code::PermissionDenied));
    // One that never joined has nothing to renew, whoever signed its certificate.
    let request = v1::RenewRequest { request: Csr::make(None).unwrap().request };
    let stranger = AgentsClient::new(house.of(Who::Agent(EVE))).renew(request).await;
    assert_eq!(stranger.err().map(|status| status.code()), Some(Code::PermissionDenied));
}

#[tokio::test]
async fn a_token_counts_for_more_than_a_certificate_and_a_false_one_for_nothing() {
    let house = House::open().await;
    let list = |token: &str| {
        let mut request = Request::new(v1::ListTokensRequest {});
        request.metadata_mut().insert("authorization", token.parse().unwrap());
        let mut client = TokensClient::new(house.admin());
        async move { client.list(request).await.err().map(|status| status.code()) }
    };
    let token = house.join_token().await;
    assert_eq!(list(&token).await, Some(Code::PermissionDenied), "it is a join token, whatever the certificate");
    let guessed = token.replace(SECRET, &SECRET.replace('0', "1"));
    for wrong in [guessed.as_str(), "Bearer", "Basic x", "Bearer tok_0000000000000."] {
        assert_eq!(list(wrong).await, Some(Code::Unauthenticated), "{wrong}");
    }
}
