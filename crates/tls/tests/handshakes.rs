//! Who gets a connection to whom, over real sockets.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use heats_tls::{
    Authority, Dialer, Distrust, Expect, Files, Identity, Io, Issued, OwnFiles, Peer, Request, Requested, Security,
    Who, distrust, incoming, write_private, write_public,
};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_stream::StreamExt;
use tonic::transport::server::Connected;
use tower_service::Service;

const DAY: Duration = Duration::from_secs(24 * 3_600);

/// A cluster's two authorities, in a folder.
struct House {
    folder: tempfile::TempDir,
    main: Authority,
    agents: Authority,
}

impl House {
    fn new(cluster: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (main, own) = Authority::make(cluster, "CA").expect("is made");
        write_public(&folder.path().join("ca.pem"), &own.certificate).expect("writes");
        let (agents, own) = Authority::make(cluster, "agents CA").expect("is made");
        write_public(&folder.path().join("agents-ca.pem"), &own.certificate).expect("writes");
        Self { folder, main, agents }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn files(&self, own: Option<&str>) -> Files {
        let own = own.map(|name| OwnFiles {
            certificate: self.path(&format!("{name}.pem")),
            key: self.path(&format!("{name}.key")),
        });
        Files { ca: self.path("ca.pem"), own, agents_ca: Some(self.path("agents-ca.pem")) }
    }

    fn write(&self, name: &str, issued: &Issued) {
        write_public(&self.path(&format!("{name}.pem")), &issued.certificate).expect("writes");
        write_private(&self.path(&format!("{name}.key")), &issued.key).expect("writes");
    }

    /// The identity of somebody whom `by` vouches for.
    fn somebody(&self, by: &Authority, who: Who) -> Identity {
        self.write("own", &by.issue(who, &["127.0.0.1".to_owned()], DAY).expect("is issued"));
        Identity::load(self.files(Some("own"))).expect("loads")
    }

    fn coordinator(&self, node: u64) -> Identity {
        self.somebody(&self.main, Who::Coordinator(node))
    }

    /// Somebody who knows the cluster and shows nothing.
    fn nobody(&self) -> Identity {
        Identity::load(self.files(None)).expect("loads")
    }
}

/// A coordinator that says a word to everybody, as HTTP/2 does, and then whom it took them for.
async fn serve(identity: &Identity) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("is bound");
    let mut connections = incoming(listener, Security::Tls(identity.clone()));
    tokio::spawn(async move {
        while let Some(Ok(mut io)) = connections.next().await {
            let peer = match io.connect_info() {
                Peer::PlainText => "plain".to_owned(),
                Peer::Nameless => "nobody".to_owned(),
                Peer::Named(name) => name.who.to_string(),
            };
            let _gone = io.write_all(format!("hello {peer}").as_bytes()).await;
            let _gone = io.shutdown().await;
        }
    });
    address
}

async fn dial(address: SocketAddr, security: Security, expect: Expect) -> std::io::Result<Io> {
    let uri = format!("http://{address}").parse().expect("a uri");
    Dialer::new(security, expect).call(uri).await.map(TokioIo::into_inner)
}

/// What the coordinator takes `identity` for, or why there is no connection.
async fn greeting(address: SocketAddr, identity: &Identity) -> Result<String, Option<Distrust>> {
    let dialed = dial(address, Security::Tls(identity.clone()), Expect::AnyCoordinator).await;
    let mut io = dialed.map_err(|error| distrust(&error))?;
    let mut text = String::new();
    io.read_to_string(&mut text).await.map_err(|error| distrust(&error))?;
    Ok(text)
}

#[tokio::test]
async fn each_is_taken_for_what_its_certificate_says() {
    let house = House::new("lab");
    let address = serve(&house.coordinator(1)).await;
    let agent = "agt_0123456789abc".parse().expect("an id");
    for (by, who) in [
        (&house.main, Who::Coordinator(2)),
        (&house.main, Who::Admin("ops".into())),
        (&house.main, Who::User("ann".into())),
        (&house.agents, Who::Agent(agent)),
    ] {
        let identity = house.somebody(by, who.clone());
        assert_eq!(greeting(address, &identity).await, Ok(format!("hello {who}")));
    }
    assert_eq!(greeting(address, &house.nobody()).await, Ok("hello nobody".to_owned()));
}

#[tokio::test]
async fn the_authority_of_the_agents_vouches_for_agents_only_and_the_other_for_none() {
    let house = House::new("lab");
    let address = serve(&house.coordinator(1)).await;
    let agent = "agt_0123456789abc".parse().expect("an id");
    for (by, who) in [
        (&house.agents, Who::Coordinator(2)),
        (&house.agents, Who::Admin("ops".into())),
        (&house.main, Who::Agent(agent)),
    ] {
        let refused = greeting(address, &house.somebody(by, who.clone())).await;
        assert!(matches!(refused, Err(Some(Distrust::Refused(_)))), "{who}: {refused:?}");
    }
    // And nobody takes one that the agents' authority vouches for as a coordinator.
    let false_one = serve(&house.somebody(&house.agents, Who::Coordinator(2))).await;
    assert_eq!(greeting(false_one, &house.nobody()).await, Err(Some(Distrust::UnknownAuthority)));
}

#[tokio::test]
async fn another_cluster_is_refused_from_both_sides() {
    let (house, other) = (House::new("lab"), House::new("lab"));
    let address = serve(&house.coordinator(1)).await;
    let stranger = other.somebody(&other.main, Who::Admin("ops".into()));
    assert_eq!(
        greeting(address, &stranger).await,
        Err(Some(Distrust::UnknownAuthority)),
        "it does not trust the cluster"
    );
    // Trusting it does not help: it is not known there.
    let mut files = other.files(Some("own"));
    files.ca = house.path("ca.pem");
    let stranger = Identity::load(files).expect("loads: both are called lab");
    assert!(matches!(greeting(address, &stranger).await, Err(Some(Distrust::Refused(_)))));
}

#[tokio::test]
async fn a_peer_that_is_another_node_or_no_coordinator_is_not_spoken_to() {
    let house = House::new("lab");
    let first = house.coordinator(1);
    let address = serve(&first).await;
    let dialed = |expect| dial(address, Security::Tls(first.clone()), expect);
    assert!(dialed(Expect::Coordinator(1)).await.is_ok());
    let other = dialed(Expect::Coordinator(2)).await.expect_err("it is another");
    assert_eq!(distrust(&other), Some(Distrust::Other(Who::Coordinator(1))));
}

#[tokio::test]
async fn a_certificate_for_another_host_is_refused() {
    let house = House::new("lab");
    house.write("far", &house.main.issue(Who::Coordinator(1), &["10.0.0.1".to_owned()], DAY).expect("is issued"));
    let address = serve(&Identity::load(house.files(Some("far"))).expect("loads")).await;
    assert_eq!(greeting(address, &house.nobody()).await, Err(Some(Distrust::OtherHost)));
}

#[tokio::test]
async fn an_expired_certificate_is_refused_and_not_even_loaded() {
    let house = House::new("lab");
    let address = serve(&house.coordinator(1)).await;
    let second = Duration::from_secs(1);
    house.write("old", &house.main.issue(Who::Admin("ops".into()), &[], second).expect("is issued"));
    let identity = Identity::load(house.files(Some("old"))).expect("is good for a second");
    while identity.expires_in() != Some(Duration::ZERO) {
        tokio::time::sleep(second / 10).await;
    }
    // A certificate is good for the whole of its last second.
    tokio::time::sleep(second).await;
    assert!(matches!(greeting(address, &identity).await, Err(Some(Distrust::Refused(why))) if why.contains("expired")));
    let error = Identity::load(house.files(Some("old"))).expect_err("has expired").to_string();
    assert!(error.contains("expired"), "{error}");
}

#[tokio::test]
async fn a_certificate_that_is_read_again_is_shown_on_the_next_connection() {
    let house = House::new("lab");
    let address = serve(&house.coordinator(1)).await;
    let identity = house.somebody(&house.main, Who::User("ann".into()));
    assert_eq!(greeting(address, &identity).await, Ok("hello user `ann`".to_owned()));
    house.write("own", &house.main.issue(Who::User("bob".into()), &[], DAY).expect("is issued"));
    assert_eq!(greeting(address, &identity).await, Ok("hello user `ann`".to_owned()), "nobody has read it yet");
    identity.reload().expect("reads");
    assert_eq!(greeting(address, &identity).await, Ok("hello user `bob`".to_owned()));
    std::fs::write(house.path("own.pem"), "nothing").expect("writes");
    assert!(identity.reload().is_err());
    assert_eq!(greeting(address, &identity).await, Ok("hello user `bob`".to_owned()), "what was read stays in use");
}

#[tokio::test]
async fn a_newcomer_trusts_the_authority_of_the_fingerprint_and_no_other() {
    let (house, other) = (House::new("lab"), House::new("lab"));
    let address = serve(&house.coordinator(1)).await;
    let pin = |house: &House| house.nobody().fingerprint().expect("has one");
    let newcomer = Identity::newcomer(pin(&house)).expect("is made");
    assert_eq!(greeting(address, &newcomer).await, Ok("hello nobody".to_owned()));
    let misled = Identity::newcomer(pin(&other)).expect("is made");
    assert_eq!(greeting(address, &misled).await, Err(Some(Distrust::UnknownAuthority)));
}

#[tokio::test]
async fn plain_text_to_tls_and_tls_to_plain_text_are_told_apart_from_a_broken_connection() {
    let house = House::new("lab");
    let address = serve(&house.coordinator(1)).await;
    let mut io = dial(address, Security::PlainText, Expect::AnyCoordinator).await.expect("tcp connects");
    io.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.expect("writes");
    let error = io.read_to_end(&mut Vec::new()).await.expect_err("is told");
    assert_eq!(distrust(&error), Some(Distrust::SpeaksTls));

    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let plain = listener.local_addr().expect("is bound");
    tokio::spawn(async move {
        let (mut tcp, _) = listener.accept().await.expect("accepts");
        // The first frame of HTTP/2.
        tcp.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.expect("writes");
        tcp.read_to_end(&mut Vec::new()).await.ok();
    });
    assert_eq!(greeting(plain, &house.nobody()).await, Err(Some(Distrust::SpeaksPlainText)));
}

#[test]
fn what_a_request_says_about_its_holder_counts_for_nothing_and_its_key_is_kept() {
    let house = House::new("lab");
    let first = Request::make(None).expect("is made");
    let again = Request::make(Some(&first.key)).expect("is made");
    let other = Request::make(None).expect("is made");
    let hash = |request: &Request| Requested::read(&request.request).expect("reads").key_hash();
    assert_eq!(hash(&first), hash(&again));
    assert_ne!(hash(&first), hash(&other));
    let agent = "agt_0123456789abc".parse().expect("an id");
    let requested = Requested::read(&first.request).expect("reads");
    let certificate = house.agents.sign(&requested, Who::Agent(agent), DAY).expect("signs");
    house.write("agent", &Issued { certificate, key: first.key });
    let identity = Identity::load(house.files(Some("agent"))).expect("loads: the key fits");
    assert_eq!(identity.name().map(|name| name.who), Some(Who::Agent(agent)));
    assert!(Requested::read("nothing").is_err());
    let forged = first.request.replacen('A', "B", 1);
    assert!(Requested::read(&forged).is_err(), "a request is signed by its own key");
}

#[test]
fn an_authority_that_is_read_again_signs_as_before() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let (_, own) = Authority::make("lab", "CA").expect("is made");
    write_public(&at("ca.pem"), &own.certificate).expect("writes");
    write_private(&at("ca.key"), &own.key).expect("writes");
    let again = Authority::load(&at("ca.pem"), &at("ca.key")).expect("loads");
    assert_eq!(again.cluster(), "lab");
    let issued = again.issue(Who::Coordinator(3), &["node-3".to_owned()], DAY).expect("issues");
    write_public(&at("n.pem"), &issued.certificate).expect("writes");
    write_private(&at("n.key"), &issued.key).expect("writes");
    let own = OwnFiles { certificate: at("n.pem"), key: at("n.key") };
    let identity = Identity::load(Files { ca: at("ca.pem"), own: Some(own), agents_ca: None }).expect("loads");
    assert_eq!(identity.name().map(|name| name.to_string()), Some("spiffe://lab/coordinator/3".to_owned()));
    let bad = |hosts: &str| again.issue(Who::Coordinator(1), &[hosts.to_owned()], DAY).is_err();
    assert!(bad("two words") && bad("") && bad("http://x"));
}
