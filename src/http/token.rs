//! Access tokens: JWT (RFC 7519) signed with HS256 under the store's own secret, read as RFC 8725 wants it: one algorithm, one
//! key, and every claim that this server sets must be there and be its own. jsonwebtoken's one home.

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, decode_header, encode};
use serde::{Deserialize, Serialize};

use super::problem::Problem;

/// How long a token holds, seconds.
pub(crate) const HOLDS: u64 = 3600;
/// Who issues tokens, and whom they are for.
const SELF: &str = "commedia";
/// The type of an access token, in its head (RFC 9068) and among its claims.
const HEAD: &str = "at+jwt";
const ACCESS: &str = "access";
/// Bytes of a token that are looked at.
const LONGEST: usize = 2048;

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Claims {
    iss: String,
    aud: String,
    typ: String,
    /// The user, or the key.
    pub(crate) sub: String,
    /// The user's session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sid: Option<String>,
    /// The workspace.
    pub(crate) ws: String,
    pub(crate) iat: u64,
    /// The moment from which it does not hold any more, seconds since 1970 UTC.
    pub(crate) exp: u64,
    jti: String,
}

/// What tokens are signed with: its name and itself.
pub(crate) struct Secret<'s>(pub(crate) &'s str, pub(crate) &'s [u8; 32]);

/// A new token, and what it says.
pub(crate) fn issue(
    secret: &Secret<'_>,
    subject: &str,
    session: Option<&str>,
    workspace: &str,
    now_ms: i64,
) -> Result<(String, Claims), Problem> {
    let now = u64::try_from(now_ms / 1000).unwrap_or(0);
    let claims = Claims {
        iss: SELF.into(),
        aud: SELF.into(),
        typ: ACCESS.into(),
        sub: subject.into(),
        sid: session.map(str::to_owned),
        ws: workspace.into(),
        iat: now,
        exp: now + HOLDS,
        jti: commedia_actors::identity::new_id('j').map_err(Problem::internal)?,
    };
    let head = Header { typ: Some(HEAD.into()), kid: Some(secret.0.into()), ..Header::new(Algorithm::HS256) };
    let token = encode(&head, &claims, &EncodingKey::from_secret(secret.1)).map_err(Problem::internal)?;
    Ok((token, claims))
}

/// What a token says, if it is one of this server's and holds now.
pub(crate) fn read(secret: &Secret<'_>, token: &str, now_ms: i64) -> Option<Claims> {
    if token.len() > LONGEST {
        return None;
    }
    let head = decode_header(token).ok()?;
    if head.typ.as_deref() != Some(HEAD) || head.kid.as_deref() != Some(secret.0) || head.alg != Algorithm::HS256 {
        return None;
    }
    let mut wanted = Validation::new(Algorithm::HS256);
    wanted.set_audience(&[SELF]);
    wanted.set_issuer(&[SELF]);
    wanted.set_required_spec_claims(&["exp", "aud", "iss", "sub"]);
    // Its end is compared with the process' own clock.
    wanted.validate_exp = false;
    let claims = decode::<Claims>(token, &DecodingKey::from_secret(secret.1), &wanted).ok()?.claims;
    let now = u64::try_from(now_ms / 1000).unwrap_or(0);
    let holds = claims.typ == ACCESS && now < claims.exp && claims.iat <= now + 60 && claims.exp - claims.iat <= HOLDS;
    holds.then_some(claims)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;

    const KEY: &[u8; 32] = b"a secret of thirty-two bytes len";
    const NOW: i64 = 1_800_000_000_000;

    fn secret() -> Secret<'static> {
        Secret("k1", KEY)
    }

    fn signed(head: &Header, claims: &Json, key: &[u8]) -> String {
        encode(head, claims, &EncodingKey::from_secret(key)).expect("signs")
    }

    fn head() -> Header {
        Header { typ: Some(HEAD.into()), kid: Some("k1".into()), ..Header::new(Algorithm::HS256) }
    }

    fn claims() -> Json {
        let now = NOW / 1000;
        json!({"iss": SELF, "aud": SELF, "typ": ACCESS, "sub": "u_1", "sid": "s", "ws": "default", "iat": now, "exp": now + 60, "jti": "j"})
    }

    #[test]
    fn what_was_issued_is_read_until_it_ends() {
        let (token, claims) = issue(&secret(), "u_1", Some("s"), "default", NOW).expect("issues");
        for (at, expect) in [(NOW, true), (NOW + 3_599_000, true), (NOW + 3_600_000, false)] {
            assert_eq!(read(&secret(), &token, at).as_ref(), expect.then_some(&claims), "{at}");
        }
        assert_eq!(read(&Secret("k2", KEY), &token, NOW), None, "another key's name");
        assert_eq!(read(&Secret("k1", b"another secret of 32 bytes, len."), &token, NOW), None, "another key");
    }

    #[test]
    fn a_forged_token_is_none() {
        assert!(read(&secret(), &signed(&head(), &claims(), KEY), NOW).is_some(), "this one is right");
        let with = |name: &str, value: Json| {
            let mut claims = claims();
            claims[name] = value;
            signed(&head(), &claims, KEY)
        };
        let without = |name: &str| {
            let mut claims = claims();
            claims.as_object_mut().expect("an object").remove(name);
            signed(&head(), &claims, KEY)
        };
        let now = NOW / 1000;
        for (name, value) in [
            ("aud", json!("other")),
            ("aud", json!(["other"])),
            ("iss", json!("other")),
            ("typ", json!("refresh")),
            ("exp", json!((now + 60).to_string())),
            ("exp", json!(now)),
            ("exp", json!(now - 1)),
            ("exp", json!(-1)),
            ("exp", json!(1e30)),
            ("exp", json!(null)),
            ("exp", json!(now + 1_000_000)),
            ("iat", json!(now + 3000)),
            ("sub", json!(7)),
            ("role", json!("owner")),
        ] {
            assert_eq!(read(&secret(), &with(name, value.clone()), NOW), None, "{name}: {value}");
        }
        for name in ["iss", "aud", "typ", "sub", "ws", "iat", "exp", "jti"] {
            assert_eq!(read(&secret(), &without(name), NOW), None, "without {name}");
        }
        let other = |change: fn(&mut Header)| {
            let mut head = head();
            change(&mut head);
            signed(&head, &claims(), KEY)
        };
        for token in [
            other(|head| head.typ = Some("JWT".into())),
            other(|head| head.typ = None),
            other(|head| head.kid = Some("k0".into())),
            other(|head| head.kid = None),
            other(|head| head.alg = Algorithm::HS384),
            other(|head| head.alg = Algorithm::HS512),
            signed(&head(), &claims(), b""),
            signed(&head(), &claims(), b"k1"),
        ] {
            assert_eq!(read(&secret(), &token, NOW), None, "{token}");
        }
    }

    #[test]
    fn an_unsigned_or_broken_token_is_none() {
        let right = signed(&head(), &claims(), KEY);
        let parts: Vec<&str> = right.split('.').collect();
        // {"alg":"none","typ":"at+jwt","kid":"k1"} and {"alg":"RS256", …}, in base64url.
        let none = "eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0Iiwia2lkIjoiazEifQ";
        let rs256 = "eyJhbGciOiJSUzI1NiIsInR5cCI6ImF0K2p3dCIsImtpZCI6ImsxIn0";
        let long = format!("{}.{}.{}", parts[0], parts[1].repeat(20), parts[2]);
        for token in [
            format!("{none}.{}.", parts[1]),
            format!("{none}.{}.{}", parts[1], parts[2]),
            format!("{rs256}.{}.{}", parts[1], parts[2]),
            format!("{}.{}.", parts[0], parts[1]),
            format!("{}.{}", parts[0], parts[1]),
            format!("{}.{}.{}A", parts[0], parts[1], parts[2]),
            format!("{}.{}.{}", parts[0], parts[1], parts[2].to_lowercase()),
            format!("{right}.{}", parts[2]),
            long,
            String::new(),
            "..".into(),
            "\u{0}".into(),
        ] {
            assert_eq!(read(&secret(), &token, NOW), None, "{token}");
        }
    }
}
