//! Pure: what a token says of itself, where it is a JWT. Nobody has checked the signature here: whether it is true is the API
//! server's to say.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde::Deserialize;

use super::right::AUDIENCE;
use super::verdict::Doubt;

/// What is read of a token.
#[derive(Debug, Default, PartialEq, Deserialize)]
pub(super) struct Claims {
    #[serde(default)]
    aud: Option<Audiences>,
    #[serde(default)]
    exp: Option<f64>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(untagged)]
enum Audiences {
    One(String),
    Several(Vec<String>),
}

impl Claims {
    /// Of a token of any kind; one that is no JWT says nothing.
    pub(super) fn of(token: &str) -> Self {
        let mut parts = token.split('.');
        let (Some(_), Some(payload), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
            return Self::default();
        };
        let payload = URL_SAFE_NO_PAD.decode(payload).unwrap_or_default();
        serde_json::from_slice(&payload).unwrap_or_default()
    }

    /// For how many seconds it is still good; `None` where it does not say.
    pub(super) fn seconds_left(&self, now: Timestamp) -> Option<f64> {
        self.exp.map(|exp| exp - now.as_millisecond() as f64 / 1000.0)
    }

    /// Why it was not taken, as far as it says so itself.
    pub(super) fn doubt(&self, now: Timestamp) -> Doubt {
        let ours = |audience: &String| audience == AUDIENCE;
        let for_us = match &self.aud {
            None => true,
            Some(Audiences::One(audience)) => ours(audience),
            Some(Audiences::Several(audiences)) => audiences.iter().any(ours),
        };
        if !for_us {
            Doubt::Audience
        } else if self.seconds_left(now).is_some_and(|left| left <= 0.0) {
            Doubt::Expired
        } else {
            Doubt::Other
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn token(payload: &str) -> String {
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(payload))
    }

    #[test]
    fn a_token_says_for_whom_it_is_and_until_when() {
        let now = Timestamp::from_second(1000).unwrap();
        let table = [
            (r#"{"aud":["activation.dev"],"exp":1060}"#, Doubt::Other, Some(60.0)),
            (r#"{"aud":["https://kubernetes.default.svc"],"exp":1060}"#, Doubt::Audience, Some(60.0)),
            (r#"{"aud":"activation.dev","exp":1000.5}"#, Doubt::Other, Some(0.5)),
            (r#"{"aud":"others"}"#, Doubt::Audience, None),
            (r#"{"aud":["others","activation.dev"],"exp":1000}"#, Doubt::Expired, Some(0.0)),
            (r"{}", Doubt::Other, None),
            (r#"{"aud":7,"exp":"soon"}"#, Doubt::Other, None),
            ("not json", Doubt::Other, None),
        ];
        for (payload, doubt, left) in table {
            let claims = Claims::of(&token(payload));
            assert_eq!((claims.doubt(now), claims.seconds_left(now)), (doubt, left), "{payload}");
        }
    }

    #[test]
    fn what_is_no_jwt_says_nothing() {
        for opaque in ["", "opaque", "a.b", "a.b.c.d", "..", "\u{fc}.\u{fc}.\u{fc}"] {
            assert_eq!(Claims::of(opaque), Claims::default(), "{opaque:?}");
        }
    }
}
