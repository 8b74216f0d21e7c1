//! Webhooks behind TLS: a server that is known by its certificate is told, and can tell by a signature who tells it.

use heats_testkit::{Cluster, Heats, Workspace, eventually};

const SWEEP: &str = "
version: 1
name: told
command: [./trial.sh]
space: { x: { int: [1, 3] } }
objective: { minimize: loss }
search: { algorithm: grid }
budget: { parallel: 1 }
";

const SECRET: &str = "a secret of more than sixteen bytes";

/// A receiver as somebody else writes it, in Python: notes the path, the event and whether the signature is the one that the
/// secret makes of the body.
const RECEIVER: &str = r#"
import hashlib, hmac, http.server, ssl, sys

class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        expected = "sha256=" + hmac.new(sys.argv[1].encode(), body, hashlib.sha256).hexdigest()
        is_signed = hmac.compare_digest(expected, self.headers.get("Heats-Signature", ""))
        with open("told.txt", "a") as told:
            print(self.path, self.headers["Heats-Event"], "signed" if is_signed else "not signed", file=told)
        self.send_response(204)
        self.end_headers()

context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("own/coordinator-1/node.pem", "own/coordinator-1/node.key")
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
server.socket = context.wrap_socket(server.socket, server_side=True)
print("port", server.server_address[1], flush=True)
server.serve_forever()
"#;

/// Starts the receiver, with a certificate for 127.0.0.1 of an authority that only the test knows; its port.
fn receiver(workspace: &Workspace) -> (Heats, String) {
    workspace.ok(&["tls", "init", "--cluster", "receiver", "--coordinator", "1=127.0.0.1", "--out", "own"]);
    workspace.write("receiver.py", RECEIVER);
    let receiver = workspace.start_command(workspace.program("python3", &["receiver.py", SECRET]));
    let line = receiver.wait_line("port ");
    let port = line.split_once("port ").map(|(_, port)| port.trim().to_owned()).expect("says its port");
    (receiver, port)
}

#[test]
fn a_webhook_behind_tls_is_told_what_it_can_trust_and_one_with_anothers_certificate_nothing() {
    let workspace = Workspace::with(SWEEP, "echo \"::metric step=1 loss=$((10 - HEATS_PARAM_X))\"");
    let (receiver, port) = receiver(&workspace);
    let hook = |host: &str| format!("{{ on: [finished, new_best], webhook: \"https://{host}:{port}/{host}\" }}");
    workspace.write("sweep.yaml", format!("{SWEEP}notify: [{}, {}]\n", hook("localhost"), hook("127.0.0.1")));
    let secret = workspace.write("secret", format!("{SECRET}\n"));
    let trusted = workspace.file("own/ca.pem");
    let workspace = workspace
        .with_variable("HEATS_WEBHOOKS", "any")
        .with_variable("HEATS_WEBHOOK_SECRET", &secret.display().to_string())
        .with_variable("SSL_CERT_FILE", &trusted.display().to_string());
    let cluster = Cluster::start(workspace, 1, 1);
    let workspace = cluster.workspace();
    workspace.ok(&["submit", "sweep.yaml"]);
    let told = eventually("the end", || Some(workspace.read("told.txt")).filter(|told| told.contains(" finished ")));
    let lines: Vec<&str> = told.lines().collect();
    assert!(lines.len() > 1 && lines.iter().all(|line| line.ends_with(" signed")), "{told}");
    assert!(lines.iter().all(|line| line.starts_with("/127.0.0.1 ")), "the certificate is not for `localhost`: {told}");
    let shown = workspace.ok(&["show", "told", "-o", "json"]).stdout + &workspace.ok(&["events", "told"]).stdout;
    assert!(!shown.contains(SECRET), "the secret is the operator's alone: {shown}");
    receiver.kill();
    receiver.finish();
}
