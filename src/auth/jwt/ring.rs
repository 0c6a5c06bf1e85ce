//! jsonwebtoken over `ring`, so that the process has one crypto library. It verifies with public keys and does nothing
//! else: this process signs no tokens, and knows no secret of an issuer.

use jsonwebtoken::{
    Algorithm, DecodingKey, DecodingKeyKind,
    crypto::{CryptoProvider, JwtVerifier, KeyUtils},
    errors::{ErrorKind, new_error},
};
use ring::signature as by;
use signature::{Error, Verifier};

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |_, _| Err(new_error(ErrorKind::InvalidAlgorithm)),
    verifier_factory: |algorithm, key| {
        if algorithm.family() != key.family() {
            return Err(new_error(ErrorKind::InvalidKeyFormat));
        }
        Ok(Box::new(Ring(*algorithm, key.clone())))
    },
    key_utils: KeyUtils::new_unimplemented(), // thumbprints and private keys are not used
};

/// For the whole process; the first call counts.
pub(super) fn install() {
    PROVIDER.install_default().ok();
}

struct Ring(Algorithm, DecodingKey);

impl JwtVerifier for Ring {
    fn algorithm(&self) -> Algorithm {
        self.0
    }
}

impl Verifier<Vec<u8>> for Ring {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), Error> {
        let verified = match (self.0, self.1.kind()) {
            (algorithm, DecodingKeyKind::RsaModulusExponent { n, e }) => {
                let parameters = rsa(algorithm).ok_or_else(Error::new)?;
                by::RsaPublicKeyComponents { n, e }.verify(parameters, message, signature)
            }
            (algorithm, DecodingKeyKind::SecretOrDer(point)) => {
                let curve = curve(algorithm).ok_or_else(Error::new)?;
                by::UnparsedPublicKey::new(curve, point).verify(message, signature)
            }
        };
        verified.map_err(|_| Error::new())
    }
}

/// At least 2048 bits (RFC 7518, 3.3).
fn rsa(algorithm: Algorithm) -> Option<&'static by::RsaParameters> {
    Some(match algorithm {
        Algorithm::RS256 => &by::RSA_PKCS1_2048_8192_SHA256,
        Algorithm::RS384 => &by::RSA_PKCS1_2048_8192_SHA384,
        Algorithm::RS512 => &by::RSA_PKCS1_2048_8192_SHA512,
        Algorithm::PS256 => &by::RSA_PSS_2048_8192_SHA256,
        Algorithm::PS384 => &by::RSA_PSS_2048_8192_SHA384,
        Algorithm::PS512 => &by::RSA_PSS_2048_8192_SHA512,
        _ => return None,
    })
}

/// Signatures of fixed length (RFC 7518, 3.4), never DER.
fn curve(algorithm: Algorithm) -> Option<&'static dyn by::VerificationAlgorithm> {
    Some(match algorithm {
        Algorithm::ES256 => &by::ECDSA_P256_SHA256_FIXED,
        Algorithm::ES384 => &by::ECDSA_P384_SHA384_FIXED,
        Algorithm::EdDSA => &by::ED25519,
        _ => return None,
    })
}
