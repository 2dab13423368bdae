//! A pod behind Envoy in STRICT mode and the NAT rules of Istio, as it stands after the injection.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    net::{IpAddr, TcpStream},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    Container, Node, PATH, Pod, annotations,
    image::run as run_program,
    runtime::{Runtime, Sandbox},
    script, serving,
};

const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/demo");

/// The user and group of Istio's proxy, whose traffic the NAT rules let pass.
const USER: i64 = 1337;

/// The third pod, `meshed`: what it asked for before the injection is in its sidecar's environment alone.
pub(crate) fn run(node: &Node, runtime: &mut Runtime) -> Sandbox {
    let injected = [
        ("prometheus.io/scrape", "true"),
        ("prometheus.io/port", "15020"),
        ("prometheus.io/path", "/stats/prometheus"),
    ];
    let name = "meshed".to_owned();
    let pod = Pod { name, uid: node.uid(3), annotations: annotations(&injected) };
    let sandbox = runtime.run(&pod);
    let net = format!("--net=/proc/{}/ns/net", sandbox.pid);
    let rules = format!("{DEMO}/istio-nat.rules");
    run_program(Command::new("nsenter").args([&net, "iptables-restore", &rules]));
    runtime.start(&sandbox, serving("app", "meshed", "9100"));
    runtime.start(&sandbox, sidecar(node));
    sandbox
}

fn sidecar(node: &Node) -> Container {
    let certificates = make_certificates(&node.directory);
    let envoy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools/envoy/envoy/_bin");
    assert!(envoy.join("envoy").exists(), "{}: run `cargo xtask setup`", envoy.display());
    let shown = |path: &Path| path.canonicalize().unwrap().display().to_string();
    let command = "exec /opt/envoy --config-path /run/merger-demo/envoy.yaml --concurrency 1 \
                   --disable-hot-restart --log-level warning";
    let originals = format!(r#"{{"scrape":"true","path":"{}","port":"9100"}}"#, PATH.1);
    Container {
        name: "istio-proxy",
        command: script(command),
        ports: vec![("http-envoy-prom", 15090)],
        env: vec![("ISTIO_PROMETHEUS_ANNOTATIONS", originals)],
        mounts: vec![
            (shown(&envoy), "/opt"),
            (shown(&certificates), "/run/merger-demo/certificates"),
            (shown(&Path::new(DEMO).join("envoy.yaml")), "/run/merger-demo/envoy.yaml"),
            // Envoy's own libraries.
            (shown(Path::new("/usr/lib")), "/usr/lib"),
            (shown(Path::new("/lib64")), "/usr/lib64"),
        ],
        user: Some(USER),
    }
}

/// An authority, and a certificate of its for the sidecar. Nobody here has one for a client.
fn make_certificates(directory: &Path) -> PathBuf {
    let certificates = directory.join("certificates");
    fs::create_dir(&certificates).unwrap();
    let openssl = |name: &str, options: &[&str]| {
        let mut openssl = Command::new("openssl");
        openssl.current_dir(&certificates).args(["req", "-x509", "-newkey", "ec", "-nodes"]);
        openssl.args(["-pkeyopt", "ec_paramgen_curve:prime256v1", "-days", "2"]);
        openssl.args(["-subj", &format!("/CN={name}"), "-keyout", &format!("{name}.key")]);
        run_program(openssl.args(["-out", &format!("{name}.pem")]).args(options));
    };
    openssl("ca", &["-addext", "keyUsage=critical,keyCertSign"]);
    let constraint = ["-addext", "basicConstraints=critical,CA:false"];
    openssl("server", &[&["-CA", "ca.pem", "-CAkey", "ca.key"], &constraint[..]].concat());
    let readable = fs::Permissions::from_mode(0o644);
    fs::set_permissions(certificates.join("server.key"), readable).unwrap();
    certificates
}

/// What a pod answers to plaintext from the node's end of its network.
pub(crate) fn get_from_outside(node: &Node, address: IpAddr, port: u16) -> io::Result<String> {
    let mut stream = node.netns().within(|| TcpStream::connect((address, port)))?;
    write!(stream, "GET {} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", PATH.1)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
