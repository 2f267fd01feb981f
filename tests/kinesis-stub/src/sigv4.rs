//! Pure: AWS Signature Version 4 in the `Authorization` header, checked as the service checks it. Takes the secret and
//! `now`; looks no key up.

use hmac::{Hmac, KeyInit as _, Mac as _};
use hyper::HeaderMap;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use sha2::{Digest as _, Sha256};

use crate::error::ApiError;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// How far a request's date may be from the clock, in seconds.
const SKEW_SECONDS: i64 = 300;

/// The parts of the `Authorization` header, and the request's date.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Authorization {
    pub(crate) access_key: String,
    /// `yyyymmdd`.
    date: String,
    region: String,
    pub(crate) service: String,
    signed_headers: Vec<String>,
    signature: Vec<u8>,
    /// `yyyymmddThhmmssZ`.
    amz_date: String,
}

/// What was signed.
pub(crate) struct Signed<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) query: &'a str,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) body: &'a [u8],
}

/// Reads the header. Errors: `MissingAuthenticationTokenException`, `IncompleteSignatureException`.
pub(crate) fn parse(headers: &HeaderMap) -> Result<Authorization, ApiError> {
    let Some(header) = headers.get("authorization") else {
        return Err(ApiError::new("MissingAuthenticationTokenException", "Missing Authentication Token"));
    };
    let incomplete = |what: &str| ApiError::new("IncompleteSignatureException", what.to_owned());
    let header = header.to_str().map_err(|_| incomplete("Authorization header is not text."))?;
    let fields = header
        .strip_prefix(ALGORITHM)
        .ok_or_else(|| incomplete("Unsupported AWS 'algorithm': it must be AWS4-HMAC-SHA256."))?;
    let (mut credential, mut signed_headers, mut signature) = (None, None, None);
    for field in fields.split(',') {
        match field.trim().split_once('=') {
            Some(("Credential", value)) => credential = Some(value),
            Some(("SignedHeaders", value)) => signed_headers = Some(value),
            Some(("Signature", value)) => signature = Some(value),
            _ => return Err(incomplete("Authorization header holds a field that is not 'key=value'.")),
        }
    }
    let credential = credential.ok_or_else(|| incomplete("Authorization header requires 'Credential' parameter."))?;
    let signed_headers =
        signed_headers.ok_or_else(|| incomplete("Authorization header requires 'SignedHeaders' parameter."))?;
    let signature = signature.ok_or_else(|| incomplete("Authorization header requires 'Signature' parameter."))?;
    let amz_date = headers
        .get("x-amz-date")
        .and_then(|date| date.to_str().ok())
        .ok_or_else(|| incomplete("Authorization header requires existence of an 'X-Amz-Date' header."))?;
    // The key itself may hold slashes, the rest may not.
    let scope: Vec<&str> = credential.rsplitn(5, '/').collect();
    let ["aws4_request", service, region, date, access_key] = scope.as_slice() else {
        return Err(incomplete("Credential must be scoped as 'key/date/region/service/aws4_request'."));
    };
    Ok(Authorization {
        access_key: (*access_key).to_owned(),
        date: (*date).to_owned(),
        region: (*region).to_owned(),
        service: (*service).to_owned(),
        signed_headers: signed_headers.split(';').map(str::to_owned).collect(),
        signature: hex::decode(signature).unwrap_or_default(),
        amz_date: amz_date.to_owned(),
    })
}

/// Checks the date, then the signature. `now` is Unix seconds. Errors: `InvalidSignatureException`.
pub(crate) fn verify(
    request: &Signed<'_>,
    authorization: &Authorization,
    secret: &str,
    now: i64,
) -> Result<(), ApiError> {
    check_date(authorization, now)?;
    if !authorization.signed_headers.iter().any(|name| name == "host") {
        return Err(invalid("'Host' must be a 'SignedHeader' in the AWS Authorization."));
    }
    if let Some(unsigned) = unsigned_amz_header(request.headers, authorization) {
        return Err(invalid(&format!("'{unsigned}' must be a 'SignedHeader' in the AWS Authorization.")));
    }
    let body_hash = hex::encode(Sha256::digest(request.body));
    if let Some(claimed) = request.headers.get("x-amz-content-sha256")
        && claimed.as_bytes() != body_hash.as_bytes()
    {
        return Err(invalid("The value of 'x-amz-content-sha256' does not match the body."));
    }
    let text = string_to_sign(&canonical_request(request, &authorization.signed_headers, &body_hash), authorization);
    let key = signing_key(secret, &authorization.date, &authorization.region, &authorization.service);
    keyed(&key, text.as_bytes()).verify_slice(&authorization.signature).map_err(|_| {
        invalid(
            "The request signature we calculated does not match the signature you provided. Check your AWS Secret \
             Access Key and signing method. Consult the service documentation for details.",
        )
    })
}

fn invalid(message: &str) -> ApiError {
    ApiError::new("InvalidSignatureException", message)
}

fn check_date(authorization: &Authorization, now: i64) -> Result<(), ApiError> {
    let date = &authorization.amz_date;
    let signed = seconds_of(date).ok_or_else(|| {
        ApiError::new("IncompleteSignatureException", format!("Date must be in ISO-8601 'basic format'. Got '{date}'."))
    })?;
    if !date.starts_with(&authorization.date) {
        let scope = &authorization.date;
        return Err(invalid(&format!("Date in Credential scope does not match YYYYMMDD: '{scope}' against '{date}'.")));
    }
    let now_text = text_of(now);
    if signed < now - SKEW_SECONDS {
        let limit = text_of(now - SKEW_SECONDS);
        return Err(invalid(&format!("Signature expired: {date} is now earlier than {limit} ({now_text} - 5 min.)")));
    }
    if signed > now + SKEW_SECONDS {
        let limit = text_of(now + SKEW_SECONDS);
        return Err(invalid(&format!(
            "Signature not yet current: {date} is still later than {limit} ({now_text} + 5 min.)"
        )));
    }
    Ok(())
}

fn seconds_of(date: &str) -> Option<i64> {
    let civil = DateTime::strptime("%Y%m%dT%H%M%SZ", date).ok()?;
    Some(TimeZone::UTC.to_timestamp(civil).ok()?.as_second())
}

fn text_of(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| String::new(), |at| at.strftime("%Y%m%dT%H%M%SZ").to_string())
}

/// A session token or a target that is not signed could be swapped on the way.
fn unsigned_amz_header<'a>(headers: &'a HeaderMap, authorization: &Authorization) -> Option<&'a str> {
    let guarded = ["x-amz-date", "x-amz-target", "x-amz-security-token"];
    headers
        .keys()
        .map(hyper::header::HeaderName::as_str)
        .find(|name| guarded.contains(name) && !authorization.signed_headers.iter().any(|signed| signed == name))
}

fn canonical_request(request: &Signed<'_>, signed_headers: &[String], body_hash: &str) -> String {
    let mut canonical = format!("{}\n{}\n{}\n", request.method, request.path, canonical_query(request.query));
    for name in signed_headers {
        let values: Vec<String> = request
            .headers
            .get_all(name)
            .iter()
            .map(|value| {
                String::from_utf8_lossy(value.as_bytes()).split_ascii_whitespace().collect::<Vec<_>>().join(" ")
            })
            .collect();
        canonical.extend([name.as_str(), ":", &values.join(","), "\n"]);
    }
    canonical.extend(["\n", &signed_headers.join(";"), "\n", body_hash]);
    canonical
}

/// Pairs in order of their names, each with its `=`. Clients send them encoded already.
fn canonical_query(query: &str) -> String {
    let mut pairs: Vec<String> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| if pair.contains('=') { pair.to_owned() } else { format!("{pair}=") })
        .collect();
    pairs.sort();
    pairs.join("&")
}

fn string_to_sign(canonical: &str, authorization: &Authorization) -> String {
    let Authorization { amz_date, date, region, service, .. } = authorization;
    let hash = hex::encode(Sha256::digest(canonical.as_bytes()));
    format!("{ALGORITHM}\n{amz_date}\n{date}/{region}/{service}/aws4_request\n{hash}")
}

fn signing_key(secret: &str, date: &str, region: &str, service: &str) -> [u8; 32] {
    let mut key = sign(format!("AWS4{secret}").as_bytes(), date.as_bytes());
    for part in [region, service, "aws4_request"] {
        key = sign(&key, part.as_bytes());
    }
    key
}

fn keyed(key: &[u8], text: &[u8]) -> Hmac<Sha256> {
    // A key longer than a block is hashed first, as HMAC says; `new_from_slice` does so and refuses no length.
    let mut mac = Hmac::<Sha256>::new_from_slice(key)
        .unwrap_or_else(|_| Hmac::new(&sha2::digest::Key::<Hmac<Sha256>>::default()));
    mac.update(text);
    mac
}

fn sign(key: &[u8], text: &[u8]) -> [u8; 32] {
    keyed(key, text).finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use hyper::header::{HeaderName, HeaderValue};

    use super::*;

    // The key, date, scope and signatures of the published test suite of Signature Version 4.
    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
    const NOW: i64 = 1_440_938_160;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn check(
        method: &str,
        query: &str,
        more: &[(&'static str, &str)],
        signed: &str,
        body: &str,
        signature: &str,
        now: i64,
    ) -> Result<(), ApiError> {
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders={signed}, \
             Signature={signature}"
        );
        let mut pairs = vec![
            ("host", "example.amazonaws.com"),
            ("x-amz-date", "20150830T123600Z"),
            ("authorization", authorization.as_str()),
        ];
        pairs.extend_from_slice(more);
        let headers = headers(&pairs);
        let request = Signed { method, path: "/", query, headers: &headers, body: body.as_bytes() };
        verify(&request, &parse(&headers)?, SECRET, now)
    }

    #[test]
    fn the_signing_key_is_the_published_one() {
        let key = signing_key(SECRET, "20120215", "us-east-1", "iam");
        assert_eq!(hex::encode(key), "f4780e2d9f65fa895f9c67b32ce1baf0b0d8a43505a000a1a9e090d414db404d");
    }

    #[test]
    fn the_published_vectors_verify() {
        let plain = "host;x-amz-date";
        let vanilla = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31";
        check("GET", "", &[], plain, "", vanilla, NOW).expect("get-vanilla");
        let post = "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b";
        check("POST", "", &[], plain, "", post, NOW).expect("post-vanilla");
        let ordered = "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500";
        check("GET", "Param2=value2&Param1=value1", &[], plain, "", ordered, NOW)
            .expect("get-vanilla-query-order-key-case");
        let trimmed = [("my-header1", " value1"), ("my-header2", " \"a   b   c\"")];
        let signature = "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736";
        check("GET", "", &trimmed, "host;my-header1;my-header2;x-amz-date", "", signature, NOW)
            .expect("get-header-value-trim");
        let form = [
            ("content-type", "application/x-www-form-urlencoded"),
            ("content-length", "13"),
            ("x-amz-content-sha256", "9095672bbd1f56dfc5b65f3e153adc8731a4a654192329106275f4c7b24d0b6e"),
        ];
        let signed = "content-length;content-type;host;x-amz-content-sha256;x-amz-date";
        let signature = "d3875051da38690788ef43de4db0d8f280229d82040bfac253562e56c3f20e0b";
        check("POST", "", &form, signed, "Param1=value1", signature, NOW).expect("post-x-www-form-urlencoded");
    }

    #[test]
    fn whatever_is_changed_afterwards_breaks_the_signature() {
        let vanilla = "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b";
        let plain = "host;x-amz-date";
        for outcome in [
            check("GET", "", &[], plain, "", vanilla, NOW),
            check("POST", "a=b", &[], plain, "", vanilla, NOW),
            check("POST", "", &[], plain, "x", vanilla, NOW),
            check("POST", "", &[], plain, "", "zz", NOW),
            check("POST", "", &[], "x-amz-date", "", vanilla, NOW),
            check("POST", "", &[("x-amz-security-token", "t")], plain, "", vanilla, NOW),
            check("POST", "", &[("x-amz-content-sha256", "00")], plain, "", vanilla, NOW),
        ] {
            assert_eq!(outcome.unwrap_err().kind, "InvalidSignatureException");
        }
    }

    #[test]
    fn a_date_is_good_for_five_minutes_both_ways() {
        let vanilla = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31";
        let at = |now| check("GET", "", &[], "host;x-amz-date", "", vanilla, now);
        assert!(at(NOW + 300).is_ok() && at(NOW - 300).is_ok());
        let late = at(NOW + 301).unwrap_err();
        assert_eq!(
            late.message,
            "Signature expired: 20150830T123600Z is now earlier than 20150830T123601Z (20150830T124101Z - 5 min.)"
        );
        assert!(at(NOW - 301).unwrap_err().message.starts_with("Signature not yet current"));
    }

    #[test]
    fn a_header_that_is_missing_or_in_parts_is_named_as_such() {
        assert_eq!(parse(&HeaderMap::new()).unwrap_err().kind, "MissingAuthenticationTokenException");
        for broken in [
            "Bearer x",
            "AWS4-HMAC-SHA256 Credential=a/b/c/d/aws4_request, SignedHeaders=host",
            "AWS4-HMAC-SHA256 Credential=a/b/c, SignedHeaders=host, Signature=00",
            "AWS4-HMAC-SHA256 nonsense",
        ] {
            let headers = headers(&[("authorization", broken), ("x-amz-date", "20150830T123600Z")]);
            assert_eq!(parse(&headers).unwrap_err().kind, "IncompleteSignatureException", "{broken}");
        }
    }
}
