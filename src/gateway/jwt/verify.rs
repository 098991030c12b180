//! Signatures for `jsonwebtoken`, by the cryptography that TLS uses here: verifying only.

use std::sync::Once;

use jsonwebtoken::crypto::{CryptoProvider, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::signature::{Error, Verifier};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind};
use ring::signature as ring;

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |_, _| Err(ErrorKind::UnsupportedAlgorithm.into()),
    verifier_factory: |algorithm, key| {
        let verify = Verify {
            algorithm: *algorithm,
            key: key.clone(),
        };
        if key.family() != algorithm.family() {
            return Err(ErrorKind::InvalidKeyFormat.into());
        }
        Ok(Box::new(verify) as Box<dyn JwtVerifier>)
    },
    key_utils: KeyUtils::new_unimplemented(), // of private keys and thumbprints only
};

/// Makes it what `jsonwebtoken` uses.
pub(super) fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let _ = PROVIDER.install_default();
    });
}

struct Verify {
    algorithm: Algorithm,
    key: DecodingKey,
}

impl JwtVerifier for Verify {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

impl Verifier<Vec<u8>> for Verify {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> std::result::Result<(), Error> {
        let good = check(self.algorithm, self.key.kind(), message, signature);
        good.map_err(|_| Error::new())
    }
}

fn check(
    algorithm: Algorithm,
    key: &DecodingKeyKind,
    message: &[u8],
    signature: &[u8],
) -> std::result::Result<(), ::ring::error::Unspecified> {
    let rsa = match algorithm {
        Algorithm::RS256 => &ring::RSA_PKCS1_2048_8192_SHA256,
        Algorithm::RS384 => &ring::RSA_PKCS1_2048_8192_SHA384,
        Algorithm::RS512 => &ring::RSA_PKCS1_2048_8192_SHA512,
        Algorithm::PS256 => &ring::RSA_PSS_2048_8192_SHA256,
        Algorithm::PS384 => &ring::RSA_PSS_2048_8192_SHA384,
        Algorithm::PS512 => &ring::RSA_PSS_2048_8192_SHA512,
        other => {
            let DecodingKeyKind::SecretOrDer(key) = key else {
                return Err(::ring::error::Unspecified);
            };
            let algorithm: &'static dyn ring::VerificationAlgorithm = match other {
                Algorithm::ES256 => &ring::ECDSA_P256_SHA256_FIXED,
                Algorithm::ES384 => &ring::ECDSA_P384_SHA384_FIXED,
                Algorithm::EdDSA => &ring::ED25519,
                _ => return Err(::ring::error::Unspecified),
            };
            return ring::UnparsedPublicKey::new(algorithm, key).verify(message, signature);
        }
    };
    match key {
        DecodingKeyKind::RsaModulusExponent { n, e } => ring::RsaPublicKeyComponents { n, e }.verify(rsa, message, signature),
        DecodingKeyKind::SecretOrDer(_) => Err(::ring::error::Unspecified), // a JWK has its components
    }
}
