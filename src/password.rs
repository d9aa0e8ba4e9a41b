//! Passwords: argon2id (RFC 9106) with 19 MiB and two passes, as OWASP's cheat sheet for storing passwords has it. argon2's one home.

use argon2::Argon2;
use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use tokio::sync::Semaphore;

use crate::failure::{Exit, Failure};

/// The fewest characters.
pub(crate) const SHORTEST: usize = 10;
/// The most.
pub(crate) const LONGEST: usize = 256;
/// Hashes that are computed at once: each takes 19 MiB and a core.
static AT_ONCE: Semaphore = Semaphore::const_new(2);
/// What is compared with where there is no such user, so that the answer takes as long. The password of nobody.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5bm9ib2R5bm9ib2R5$Pu4yjYlqHYhlSpCKzKaD3YOzoLD9H4xWcnhw4V1vpEU";

/// Says what is wrong with a new password, if anything is.
pub(crate) fn check(password: &str) -> Result<(), Failure> {
    match password.chars().count() {
        SHORTEST..=LONGEST => Ok(()),
        _ => Err(Failure::new(Exit::Invalid, format!("a password has {SHORTEST} to {LONGEST} characters"))),
    }
}

async fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
    let internal = |e: String| Failure::new(Exit::Internal, e);
    let _place = AT_ONCE.acquire().await.map_err(|e| internal(e.to_string()))?;
    tokio::task::spawn_blocking(work).await.map_err(|e| internal(e.to_string()))
}

/// The hash of a new password, in PHC's form.
pub(crate) async fn hash(password: &str, salt: &str) -> Result<String, Failure> {
    check(password)?;
    let (password, salt) = (password.to_owned(), salt.to_owned());
    let hashed = beside(move || {
        let salt = SaltString::encode_b64(salt.as_bytes()).map_err(|e| e.to_string())?;
        let hash = Argon2::default().hash_password(password.as_bytes(), &salt).map_err(|e| e.to_string())?;
        Ok(hash.to_string())
    });
    hashed.await?.map_err(|e: String| Failure::new(Exit::Internal, e))
}

/// Whether a password is the one whose hash this is; `None`: there is no such user, which takes as long.
pub(crate) async fn fits(password: &str, hash: Option<&str>) -> Result<bool, Failure> {
    if password.chars().count() > LONGEST {
        return Ok(false);
    }
    let (password, known, hash) = (password.to_owned(), hash.is_some(), hash.unwrap_or(NOBODY).to_owned());
    beside(move || {
        let hash = PasswordHash::new(&hash);
        let fits = hash.is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok());
        fits && known
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_password_fits_its_hash() {
        let hashed = hash("correct horse", "0123456789abcdef").await.expect("hashes");
        assert!(hashed.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hashed}");
        for (password, hash, expect) in [
            ("correct horse", Some(hashed.as_str()), true),
            ("correct horsf", Some(&hashed), false),
            ("", Some(&hashed), false),
            ("correct horse", None, false),
            ("correct horse", Some("no hash"), false),
        ] {
            assert_eq!(fits(password, hash).await.expect("compares"), expect, "{password} {hash:?}");
        }
        assert!(PasswordHash::new(NOBODY).is_ok_and(|hash| hash.hash.is_some()), "what nobody has is compared with as well");
        for wrong in ["short", &"x".repeat(LONGEST + 1)] {
            assert!(hash(wrong, "0123456789abcdef").await.is_err(), "{wrong}");
        }
    }
}
