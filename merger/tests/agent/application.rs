//! Applications of every manner, each a thread with a socket on loopback.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::fd::OwnedFd,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, socket_with};

/// A server that answers each connection in one manner, until the test ends.
pub(crate) struct Application {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
    /// What keeps a port that nobody listens on.
    _held: Option<OwnedFd>,
}

impl Application {
    /// Answers with these bytes, and closes.
    pub(crate) fn answers(answer: Vec<u8>) -> Self {
        Self::answers_late(answer, Duration::ZERO)
    }

    /// The same, after a while.
    pub(crate) fn answers_late(answer: Vec<u8>, after: Duration) -> Self {
        Self::start(move |stream| {
            thread::sleep(after);
            let _ = stream.write_all(&answer);
        })
    }

    /// Reads the request and never answers.
    pub(crate) fn hangs() -> Self {
        Self::start(|stream| {
            let _ = stream.read(&mut [0]);
        })
    }

    /// Answers with one byte at a time, the next after longer than anybody waits.
    pub(crate) fn drips(answer: Vec<u8>) -> Self {
        Self::start(move |stream| {
            for byte in &answer {
                if stream.write_all(&[*byte]).is_err() {
                    return;
                }
                thread::sleep(Duration::from_millis(100));
            }
        })
    }

    /// Writes the same again and again, until nobody reads any more.
    pub(crate) fn repeats(text: &'static str) -> Self {
        Self::start(move |stream| while stream.write_all(text.as_bytes()).is_ok() {})
    }

    /// Does not listen: its port refuses, and is nobody else's until the test ends.
    pub(crate) fn closed() -> Self {
        let flags = SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).unwrap();
        bind(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let address = getsockname(&socket).unwrap().try_into().unwrap();
        Self { address, requests: Arc::default(), _held: Some(socket) }
    }

    /// Answers as the request asks for it.
    pub(crate) fn answers_who(reply: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::start_told(move |stream, request| {
            let _ = stream.write_all(&reply(request));
        })
    }

    /// Answers over TLS, with a certificate that nobody signed.
    pub(crate) fn answers_by_tls(answer: Vec<u8>) -> Self {
        let made = rcgen::generate_simple_self_signed(["whoever".to_owned()]).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        Self::answers_by(Arc::new(config), answer)
    }

    /// Answers over TLS as this says.
    pub(crate) fn answers_by(config: Arc<rustls::ServerConfig>, answer: Vec<u8>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::<Mutex<Vec<String>>>::default();
        let kept = Arc::clone(&requests);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let session = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
                let mut stream = rustls::StreamOwned::new(session, stream);
                let Some(request) = read_request(&mut stream) else { continue };
                kept.lock().unwrap().push(request);
                let _ = stream.write_all(&answer);
                stream.conn.send_close_notify();
                let _ = stream.flush();
            }
        });
        Self { address, requests, _held: None }
    }

    /// How often it was asked.
    pub(crate) fn n_requests(&self) -> usize {
        self.requests.lock().unwrap().len()
    }

    /// The first request that it read.
    pub(crate) fn request(&self) -> String {
        self.requests.lock().unwrap().first().cloned().expect("it was asked")
    }

    /// Waits until it was asked.
    pub(crate) async fn asked(&self) {
        while self.n_requests() == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    fn start(reply: impl Fn(&mut TcpStream) + Send + Sync + 'static) -> Self {
        Self::start_told(move |stream, _| reply(stream))
    }

    fn start_told(reply: impl Fn(&mut TcpStream, &str) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::<Mutex<Vec<String>>>::default();
        let (kept, reply) = (Arc::clone(&requests), Arc::new(reply));
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let (kept, reply) = (Arc::clone(&kept), Arc::clone(&reply));
                thread::spawn(move || {
                    if let Some(request) = read_request(&mut stream) {
                        kept.lock().unwrap().push(request.clone());
                        reply(&mut stream, &request);
                    }
                });
            }
        });
        Self { address, requests, _held: None }
    }
}

/// Reads up to the blank line, or the first byte of what is no HTTP. Nothing where the connection
/// ends before.
fn read_request(stream: &mut impl Read) -> Option<String> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        request.push(byte[0]);
        if !byte[0].is_ascii_graphic() && !byte[0].is_ascii_whitespace() {
            break;
        }
    }
    String::from_utf8(request).ok()
}

/// An answer with a status, further header lines, and a body of stated length.
pub(crate) fn answer(status: &str, headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let head = format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// A whole page in text 0.0.4.
pub(crate) fn exposition(body: &str) -> Vec<u8> {
    answer("200 OK", "content-type: text/plain; version=0.0.4\r\n", body)
}

/// The bytes, compressed.
pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
