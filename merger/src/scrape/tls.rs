//! TLS to an application that serves its metrics over https.
//!
//! The certificate is compared with no name, and with an authority only where the pod has named one: the
//! connection begins inside the pod's own namespace and ends at a loopback address there, which says
//! more about who answers than a certificate that the pod made for itself. What TLS does here is to
//! speak the server's language. Where the pod has said who vouches for the certificate, one that nobody
//! else vouches for, or that is out of its time, ends the connection before anything is asked. Whether an
//! authority is in its time is not asked: webpki's trust anchors have no time.

use std::{io, net::SocketAddr, sync::Arc};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, RootCertStore,
    SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor,
    },
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _},
    server::ParsedCertificate,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// Speaks TLS with whoever has a certificate of the right kind.
#[derive(Clone)]
pub(super) struct Tls(TlsConnector);

/// Which certificates are of the right kind.
#[derive(Debug)]
struct Verifier {
    provider: Arc<CryptoProvider>,
    /// Who has to vouch for them; where that is nobody, all are.
    authorities: Option<Authorities>,
}

/// Who vouches for certificates.
#[derive(Debug)]
struct Authorities {
    store: RootCertStore,
    /// The same, as they are written.
    certificates: Vec<CertificateDer<'static>>,
}

/// Why authorities cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("there is no certificate in PEM, or one that cannot be read")]
pub(super) struct NoAuthority;

// === impl Tls ===

impl Tls {
    /// Takes any certificate.
    pub(super) fn new() -> Result<Self, Error> {
        Self::with(None)
    }

    /// Takes those that one of these authorities, certificates in PEM, vouches for at the time.
    pub(super) fn trusting(authorities: &[u8]) -> Result<Self, NoAuthority> {
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(authorities).collect();
        let certificates = certificates.map_err(|_| NoAuthority)?;
        let mut store = RootCertStore::empty();
        for certificate in &certificates {
            store.add(certificate.clone()).map_err(|_| NoAuthority)?;
        }
        if store.is_empty() {
            return Err(NoAuthority);
        }
        Self::with(Some(Authorities { store, certificates })).map_err(|_| NoAuthority)
    }

    fn with(authorities: Option<Authorities>) -> Result<Self, Error> {
        let provider = Arc::new(ring::default_provider());
        let is_any = authorities.is_none();
        let verifier = Verifier { provider: Arc::clone(&provider), authorities };
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        if !is_any {
            // A session that goes on shows no certificate.
            config.resumption = Resumption::disabled();
        }
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }

    pub(super) async fn connect<S>(
        &self,
        address: SocketAddr,
        stream: S,
    ) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.0.connect(ServerName::IpAddress(address.ip().into()), stream).await
    }
}

/// What is wrong with the certificate, where that is why there is no handshake.
pub(super) fn bad_certificate(error: &io::Error) -> Option<Error> {
    match error.get_ref()?.downcast_ref()? {
        bad @ Error::InvalidCertificate(_) => Some(bad.clone()),
        _ => None,
    }
}

/// Whether all that is wrong with a server's certificate is that it is an authority's. webpki looks at its time
/// before (`check_issuer_independent_properties`), so that it is in its time. rustls hands on what it has no name
/// for itself as an error without a type, so that is told by webpki's name.
fn is_of_authority(error: &Error) -> bool {
    let Error::InvalidCertificate(CertificateError::Other(OtherError(why))) = error else {
        return false;
    };
    why.to_string() == "CaUsedAsEndEntity"
}

// === impl Authorities ===

impl Authorities {
    /// Whether this is the certificate of one of them, to the byte: such a one is made by `openssl req
    /// -x509`, and vouches for itself. That who shows it has its key is seen by his signature.
    fn are(&self, certificate: &CertificateDer<'_>) -> bool {
        self.certificates.iter().any(|one| one.as_ref() == certificate.as_ref())
    }
}

// === impl Verifier ===

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Some(authorities) = &self.authorities {
            let verified = verify_server_cert_signed_by_trust_anchor(
                &ParsedCertificate::try_from(end_entity)?,
                &authorities.store,
                intermediates,
                now,
                self.provider.signature_verification_algorithms.all,
            );
            match verified {
                Err(error) if is_of_authority(&error) && authorities.are(end_entity) => {}
                verified => verified?,
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
