//! Applications that want to know who asks, and certificates that somebody has to vouch for: real servers,
//! over real TLS.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::Arc,
    thread::{self, JoinHandle},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use merger::target::{
    Reason, Scheme, Source,
    secret::{Fault, Hidden, Keys, Secret, SecretRef, Secrets, Unread},
};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose,
    IsCa, KeyPair, date_time_ymd,
};
use rustls::{ServerConfig, pki_types::PrivateKeyDer};

use crate::{
    application::{Application, answer, exposition},
    failure_of,
    world::{Agent, Answer, mk_source},
};

/// What no page, reason or log may have.
const MARK: &str = "hunter2";

/// An authority that is in no machine's store.
struct Authority(CertifiedIssuer<'static, KeyPair>);

// === impl Authority ===

impl Authority {
    fn new() -> Self {
        let mut parameters = CertificateParams::new([]).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap())
    }

    /// A certificate of it, for a name that nobody asks for.
    fn server(&self, change: impl FnOnce(&mut CertificateParams)) -> Arc<ServerConfig> {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::new(["cart.shop.svc".to_owned()]).unwrap();
        change(&mut parameters);
        let certificate = parameters.signed_by(&key, &self.0).unwrap();
        speaking(&certificate, &key)
    }

    fn pem(&self) -> Hidden {
        hidden(&pem(self.0.der()))
    }
}

/// A server with this certificate.
fn speaking(certificate: &Certificate, key: &KeyPair) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth();
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    Arc::new(config.with_single_cert(vec![certificate.der().clone()], key).unwrap())
}

fn pem(der: &[u8]) -> String {
    let lines = STANDARD.encode(der);
    format!("-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n")
}

fn name() -> SecretRef {
    SecretRef { namespace: "ns".to_owned(), name: "metrics".to_owned() }
}

fn hidden(text: &str) -> Hidden {
    Hidden(text.as_bytes().to_vec())
}

fn secrets(secret: Result<Secret, Unread>) -> Arc<Secrets> {
    Arc::new([(name(), secret)].into())
}

fn token(token: &str) -> Arc<Secrets> {
    secrets(Ok(Secret::of(Keys { token: Some(hidden(token)), ..Keys::default() }).unwrap()))
}

/// A source that is asked with the Secret.
fn secret_source(application: &Application, scheme: Scheme) -> Source {
    Source { scheme, secret: Some(name()), ..mk_source("bad", "1", application.address) }
}

async fn page(source: Source, secrets: Arc<Secrets>) -> Answer {
    let agent = Agent::start(vec![source]).await;
    agent.scraper.show(&secrets);
    let page = agent.get("/pods/ns/pod/metrics").await;
    let belief = agent.get("/api/pods").await;
    for shown in [&page.body, &belief.body] {
        assert!(!shown.contains(MARK), "{shown}");
    }
    page
}

/// Answers with a page to who says these words, and with 401 to everybody else.
fn guarded(authorization: &'static str) -> Application {
    Application::answers_who(move |request| {
        let header = format!("authorization: {authorization}");
        if request.lines().any(|line| line == header) {
            exposition("m 1\n")
        } else {
            answer("401 Unauthorized", "www-authenticate: Bearer\r\n", "")
        }
    })
}

#[tokio::test]
async fn who_asks_for_a_token_is_shown_it() {
    let application = guarded("Bearer hunter2");
    let served = page(secret_source(&application, Scheme::Http), token(MARK)).await;
    served.has("m{container=\"bad\",endpoint=\"1\"} 1");
    let n_headers = application.request().matches("authorization:").count();
    assert_eq!(n_headers, 1);
}

#[tokio::test]
async fn who_asks_for_a_password_is_shown_it() {
    // base64 of me:hunter2
    let application = guarded("Basic bWU6aHVudGVyMg==");
    let keys =
        Keys { username: Some(hidden("me")), password: Some(hidden(MARK)), ..Keys::default() };
    let secrets = secrets(Ok(Secret::of(keys).unwrap()));
    let served = page(secret_source(&application, Scheme::Http), secrets).await;
    served.has("m{container=\"bad\",endpoint=\"1\"} 1");
}

#[tokio::test]
async fn who_is_not_shown_it_is_told_of_by_what_to_do() {
    let application = guarded("Bearer hunter2");
    let source = mk_source("bad", "1", application.address);
    let served = page(source.clone(), token(MARK)).await;
    assert_eq!(
        failure_of(&served),
        "answered with HTTP status 401 Unauthorized: name a Secret by the annotation merger.io/secret that \
         has a token, or a username and a password"
    );
    assert!(!application.request().contains("authorization"), "it has not asked for that");
    let monitored = Source { reason: Reason::Monitor("ns/m".to_owned()), ..source.clone() };
    assert_eq!(
        failure_of(&page(monitored, token(MARK)).await),
        "answered with HTTP status 401 Unauthorized: what a PodMonitor asks for is asked with no Secret: have \
         the pod ask for this page by the annotation merger.io/endpoints, with merger.io/secret"
    );
    let served = page(Source { secret: Some(name()), ..source }, token("another")).await;
    let reason = failure_of(&served);
    assert!(
        reason.starts_with("answered with HTTP status 401 Unauthorized: it does not"),
        "{reason}"
    );
    assert!(reason.contains("Secret ns/metrics") && !reason.contains("another"), "{reason}");
}

#[tokio::test]
async fn who_is_shown_an_old_one_and_does_not_take_it_is_told_of_as_that() {
    let application = guarded("Bearer new");
    let keys = Keys { token: Some(hidden(MARK)), ..Keys::default() };
    let old = Secret::of(keys).unwrap().unread_since(Unread::Status(500));
    let served = page(secret_source(&application, Scheme::Http), secrets(Ok(old))).await;
    assert_eq!(
        failure_of(&served),
        "answered with HTTP status 401 Unauthorized: it does not let in who shows what Secret ns/metrics has, \
         of which that is its token, else its username and password; that may be an old one, as it could not \
         be read again: the API server answers with HTTP status 500 where it is asked for it"
    );
}

#[tokio::test]
async fn a_secret_that_is_not_known_is_no_reason_to_ask_without() {
    for (why, shown) in [
        (None, "it is not read yet (of one namespace 32 are read, of a node 128)"),
        (Some(Unread::Missing), "the API server knows none of that name"),
        (Some(Unread::Forbidden), "the account of merger may not read it: grant it the verb get"),
        (Some(Fault::LineBreak.into()), "its token has a line break in it"),
    ] {
        let application = guarded("Bearer hunter2");
        let secrets = why.map_or_else(Arc::default, |why| secrets(Err(why)));
        let served = page(secret_source(&application, Scheme::Http), secrets).await;
        let reason = failure_of(&served);
        let expected = format!("not asked without Secret ns/metrics: {shown}");
        assert!(reason.starts_with(&expected), "{reason}");
        assert_eq!(application.n_requests(), 0);
    }
}

#[tokio::test]
async fn a_secret_that_was_rotated_is_shown_from_the_next_scrape_on() {
    let application = guarded("Bearer new");
    let agent = Agent::start(vec![secret_source(&application, Scheme::Http)]).await;
    for (token, status) in [(token("old"), 503), (token("new"), 200), (Arc::default(), 503)] {
        agent.scraper.show(&token);
        assert_eq!(agent.get("/pods/ns/pod/metrics").await.status, status);
    }
    assert_eq!(application.n_requests(), 2, "without one it is not asked");
}

#[tokio::test]
async fn a_redirect_is_shown_nothing() {
    let elsewhere = guarded("Bearer hunter2");
    let location = format!("location: http://{}/metrics\r\n", elsewhere.address);
    let application = Application::answers(answer("302 Found", &location, ""));
    let served = page(secret_source(&application, Scheme::Http), token(MARK)).await;
    assert_eq!(failure_of(&served), "answered with HTTP status 302 Found");
    assert_eq!(elsewhere.n_requests(), 0);
}

#[tokio::test]
async fn whose_the_hosts_listener_is_is_known_before_it_is_shown_anything() {
    let reason = "the listener changed hands during the scrape: process 7 holds the socket in the host's \
                  namespace, and is not of this pod";
    // Who has bought it, before the request or while the body came, and how often he was asked.
    for (uid, expected, n_requests) in
        [("kept", None, 1), ("sold", Some(reason), 0), ("leased", Some(reason), 1)]
    {
        for scheme in [Scheme::Http, Scheme::Https] {
            let application = match scheme {
                Scheme::Http => guarded("Bearer hunter2"),
                Scheme::Https => Application::answers_by_tls(exposition("m 1\n")),
            };
            let source = secret_source(&application, scheme);
            let served = page(Source { owner: uid.parse().ok(), ..source }, token(MARK)).await;
            match expected {
                None => served.has("m{container=\"bad\",endpoint=\"1\"} 1"),
                Some(reason) => assert_eq!(failure_of(&served), reason),
            }
            assert_eq!(application.n_requests(), n_requests, "{uid}");
        }
    }
}

/// What comes of a server with a certificate of one authority, where `ca` has to vouch for it.
async fn over_tls(server: Arc<ServerConfig>, ca: Option<Hidden>) -> (Answer, Application) {
    let application = Application::answers_by(server, exposition("m 1\n"));
    let keys = Keys { token: Some(hidden(MARK)), ca, ..Keys::default() };
    let secrets = secrets(Ok(Secret::of(keys).unwrap()));
    let served = page(secret_source(&application, Scheme::Https), secrets).await;
    (served, application)
}

#[tokio::test]
async fn a_certificate_that_the_right_authority_vouches_for_is_taken_whatever_its_name() {
    let authority = Authority::new();
    let (served, application) = over_tls(authority.server(|_| {}), Some(authority.pem())).await;
    served.has("m{container=\"bad\",endpoint=\"1\"} 1");
    assert!(application.request().contains("authorization: Bearer hunter2\r\n"));
    // One of several will do, as while an authority is replaced.
    let [old, new] = [Authority::new(), Authority::new()];
    let both = [pem(old.0.der()), pem(new.0.der())].concat();
    let (served, _) = over_tls(new.server(|_| {}), Some(hidden(&both))).await;
    served.has("m{container=\"bad\",endpoint=\"1\"} 1");
}

#[tokio::test]
async fn a_certificate_that_vouches_for_itself_is_taken_where_it_is_the_one() {
    let made = rcgen::generate_simple_self_signed(["whoever".to_owned()]).unwrap();
    let ca = Some(hidden(&pem(made.cert.der())));
    let (served, _) = over_tls(speaking(&made.cert, &made.signing_key), ca).await;
    served.has("m{container=\"bad\",endpoint=\"1\"} 1");
}

/// A certificate of its own that says it is an authority's, as `openssl req -x509` makes it.
fn self_signed_authority(
    key: &KeyPair,
    change: impl FnOnce(&mut CertificateParams),
) -> Certificate {
    let mut parameters = CertificateParams::new(["whoever".to_owned()]).unwrap();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    change(&mut parameters);
    parameters.self_signed(key).unwrap()
}

#[tokio::test]
async fn a_certificate_of_its_own_is_taken_where_it_is_the_one_and_says_it_is_an_authoritys() {
    let key = KeyPair::generate().unwrap();
    let made = self_signed_authority(&key, |_| {});
    // Beside another, as while it is replaced.
    let both = [pem(Authority::new().0.der()), pem(made.der())].concat();
    let (served, application) = over_tls(speaking(&made, &key), Some(hidden(&both))).await;
    served.has("m{container=\"bad\",endpoint=\"1\"} 1");
    assert!(application.request().contains("authorization: Bearer hunter2\r\n"));
}

#[tokio::test]
async fn an_authoritys_own_certificate_that_is_another_or_too_old_is_told_nothing() {
    let key = KeyPair::generate().unwrap();
    let one = self_signed_authority(&key, |_| {});
    // Of the same key and name, but another one.
    let other = self_signed_authority(&key, |parameters| {
        parameters.not_after = date_time_ymd(4000, 1, 1);
    });
    let ca = Some(hidden(&pem(one.der())));
    check_refused(speaking(&other, &key), ca, "Other(OtherError(CaUsedAsEndEntity))").await;
    let ended =
        |parameters: &mut CertificateParams| parameters.not_after = date_time_ymd(2020, 1, 1);
    let ended = self_signed_authority(&key, ended);
    let ca = Some(hidden(&pem(ended.der())));
    check_refused(speaking(&ended, &key), ca, "certificate expired").await;
}

#[tokio::test]
async fn a_certificate_that_nobody_has_to_vouch_for_is_taken_as_it_is() {
    let (served, application) = over_tls(Authority::new().server(|_| {}), None).await;
    served.has("m{container=\"bad\",endpoint=\"1\"} 1");
    assert!(application.request().contains("authorization: Bearer hunter2\r\n"));
}

/// Nobody is told anything, and the reason says what is wrong.
async fn check_refused(server: Arc<ServerConfig>, ca: Option<Hidden>, why: &str) {
    let (served, application) = over_tls(server, ca).await;
    let reason = failure_of(&served);
    let expected = "its certificate is none that ca.crt of Secret ns/metrics vouches for: invalid peer \
                    certificate: ";
    assert!(reason.strip_prefix(expected).is_some_and(|rest| rest.starts_with(why)), "{reason}");
    assert_eq!(application.n_requests(), 0, "it was told nothing");
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_told_nothing() {
    let (right, wrong) = (Authority::new(), Authority::new());
    check_refused(wrong.server(|_| {}), Some(right.pem()), "BadSignature").await;
}

#[tokio::test]
async fn a_certificate_of_its_own_is_told_nothing_where_another_has_to_vouch() {
    let make = || rcgen::generate_simple_self_signed(["whoever".to_owned()]).unwrap();
    let (shown, known) = (make(), make());
    let server = speaking(&shown.cert, &shown.signing_key);
    check_refused(server, Some(hidden(&pem(known.cert.der()))), "BadSignature").await;
}

#[tokio::test]
async fn a_certificate_out_of_its_time_is_told_nothing() {
    let authority = Authority::new();
    let ended = authority.server(|parameters| parameters.not_after = date_time_ymd(2020, 1, 1));
    check_refused(ended, Some(authority.pem()), "certificate expired").await;
    let later = authority.server(|parameters| parameters.not_before = date_time_ymd(3000, 1, 1));
    check_refused(later, Some(authority.pem()), "certificate not valid yet").await;
}

#[tokio::test]
async fn a_certificate_for_clients_is_told_nothing() {
    let authority = Authority::new();
    let clients = authority.server(|parameters| {
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    });
    check_refused(clients, Some(authority.pem()), "certificate does not allow extended key usage")
        .await;
}

#[tokio::test]
async fn authorities_that_cannot_be_read_are_a_reason_of_their_own() {
    let (served, application) = over_tls(Authority::new().server(|_| {}), Some(hidden(MARK))).await;
    assert_eq!(
        failure_of(&served),
        "not asked without Secret ns/metrics: its ca.crt has no certificate in PEM, or one that cannot be read"
    );
    assert_eq!(application.n_requests(), 0);
}

#[tokio::test]
async fn a_port_without_tls_is_told_nothing() {
    for ca in [None, Some(Authority::new().pem())] {
        let (address, heard) = listening_to_all();
        let source = Source {
            scheme: Scheme::Https,
            secret: Some(name()),
            ..mk_source("bad", "1", address)
        };
        let keys = Keys { token: Some(hidden(MARK)), ca, ..Keys::default() };
        let served = page(source, secrets(Ok(Secret::of(keys).unwrap()))).await;
        let reason = failure_of(&served);
        assert!(reason.starts_with("no TLS handshake: does the port speak https?"), "{reason}");
        let heard = heard.join().unwrap();
        // The type of the record is a handshake's: RFC 8446, section 5.1.
        assert_eq!(heard.first(), Some(&22));
        assert!(!heard.windows(MARK.len()).any(|bytes| bytes == MARK.as_bytes()));
        assert!(!heard.windows(4).any(|bytes| bytes == b"GET "));
    }
}

/// A port without TLS that takes one connection, answers at once, and keeps what it hears until it ends.
fn listening_to_all() -> (SocketAddr, JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let heard = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut heard = vec![0; 1];
        stream.read_exact(&mut heard).unwrap();
        stream.write_all(&exposition("m 1\n")).unwrap();
        // A reset ends it as well.
        let _ = stream.read_to_end(&mut heard);
        heard
    });
    (address, heard)
}
