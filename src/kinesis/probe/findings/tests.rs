//! Tests of what a probe's answers prove.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;

fn facts(name: &str) -> StreamFacts {
    StreamFacts {
        name: name.into(),
        arn: Some(format!("arn:aws:kinesis:eu-west-1:123456789012:stream/{name}")),
        status: Some("ACTIVE".into()),
        mode: Some("ON_DEMAND".into()),
    }
}

fn invalid() -> RequestError {
    RequestError::Invalid { message: "InvalidArgumentException: hash key".into() }
}

fn denied() -> RequestError {
    RequestError::Denied { message: "AccessDeniedException: no".into() }
}

fn refused() -> RequestError {
    RequestError::Credentials { message: "UnrecognizedClientException: who".into() }
}

fn missing() -> RequestError {
    RequestError::StreamNotFound { message: "ResourceNotFoundException: where".into() }
}

fn listed() -> Listing {
    Listing { answered: true, found: Some(facts("orders")), ..Listing::default() }
}

fn failed(error: RequestError) -> Listing {
    Listing { error: Some(error), ..Listing::default() }
}

fn report(listing: Listing, puts: Option<(PutCheck, PutCheck)>) -> ProbeReport {
    let stream = StreamRef::Name("orders".into());
    interpret(&Observed { stream: &stream, listing, puts })
}

fn granted(report: &ProbeReport) -> [Ternary; 3] {
    report.permissions.clone().map(|permission| permission.granted)
}

use Ternary::{False, True, Unknown};

/// Its name; the search for the stream; the puts; what they prove of the permissions and of the stream.
type Case = (&'static str, Listing, Option<(PutCheck, PutCheck)>, [Ternary; 3], Ternary);

#[test]
fn each_combination_of_answers_proves_what_it_proves() {
    let not_found = Listing { answered: true, complete: true, ..Listing::default() };
    let unfinished = Listing { answered: true, ..Listing::default() };
    let busy = RequestError::Throttled { message: "slow".into() };
    let entry = |code: &str| Ok(CheckAnswer::EntryRefused { code: code.into(), message: "m".into() });
    let both = |error: RequestError| Some((Err(error.clone()), Err(error)));
    let table: Vec<Case> = vec![
        ("all is well", listed(), both(invalid()), [True, True, True], True),
        ("may not put", listed(), both(denied()), [True, False, False], True),
        ("may not put many", listed(), Some((Err(invalid()), Err(denied()))), [True, True, False], True),
        ("may not list", failed(denied()), both(invalid()), [False, True, True], True),
        ("may nothing", failed(denied()), both(denied()), [False, False, False], Unknown),
        ("bad keys", failed(refused()), both(refused()), [Unknown, Unknown, Unknown], Unknown),
        ("missing", not_found.clone(), both(missing()), [True, Unknown, Unknown], False),
        ("missing, may not list", failed(denied()), both(missing()), [False, Unknown, Unknown], False),
        ("arguments first, no such stream", not_found, both(invalid()), [True, Unknown, Unknown], False),
        ("arguments first, bad keys", failed(refused()), both(invalid()), [Unknown, Unknown, Unknown], Unknown),
        ("too many streams to read", unfinished.clone(), both(invalid()), [True, True, True], True),
        ("puts are not checked", listed(), None, [True, Unknown, Unknown], True),
        ("puts are not checked, not yet found", unfinished, None, [True, Unknown, Unknown], Unknown),
        ("throttled", failed(busy.clone()), both(busy), [Unknown, Unknown, Unknown], Unknown),
        (
            "the check wrote",
            listed(),
            Some((Ok(CheckAnswer::Written), Ok(CheckAnswer::Written))),
            [True, Unknown, Unknown],
            True,
        ),
        (
            "the entry was refused",
            listed(),
            Some((Err(invalid()), entry("InvalidArgumentException"))),
            [True, True, True],
            True,
        ),
        ("the entry failed", listed(), Some((Err(invalid()), entry("InternalFailure"))), [True, True, Unknown], True),
    ];
    for (case, listing, puts, permissions, exists) in table {
        let report = report(listing, puts);
        assert_eq!(granted(&report), permissions, "{case}");
        assert_eq!(report.exists, exists, "{case}");
    }
}

#[test]
fn whatever_is_not_granted_says_why() {
    for (listing, puts) in [
        (failed(denied()), Some((Err(denied()), Err(missing())))),
        (listed(), Some((Ok(CheckAnswer::Written), Ok(CheckAnswer::Written)))),
        (failed(refused()), None),
    ] {
        for permission in report(listing, puts).permissions {
            assert_eq!(permission.granted == True, permission.message.is_empty(), "{permission:?}");
        }
    }
}

#[test]
fn credentials_are_valid_where_the_service_knew_them() {
    let denied_everywhere = report(failed(denied()), Some((Err(denied()), Err(denied()))));
    assert_eq!(denied_everywhere.credentials, CredentialFinding::Valid);
    let refused_once = report(listed(), Some((Err(invalid()), Err(refused()))));
    assert!(matches!(refused_once.credentials, CredentialFinding::Refused { message } if message.contains("who")));
    let down = RequestError::Unavailable { message: "down".into() };
    let nothing = report(failed(down.clone()), Some((Err(down.clone()), Err(down.clone()))));
    assert_eq!(nothing.credentials, CredentialFinding::Unknown);
    assert_eq!(nothing.trouble, Some(down));
}

#[test]
fn the_stream_of_an_arn_is_not_taken_for_one_of_the_same_name() {
    let page = StreamPage { names: vec!["orders".into()], summaries: vec![facts("orders")], has_more: false };
    let theirs = StreamRef::Arn("arn:aws:kinesis:eu-west-1:999999999999:stream/orders".into());
    assert_eq!(find(&theirs, &page), None);
    let ours = StreamRef::Arn("arn:aws:kinesis:eu-west-1:123456789012:stream/orders".into());
    assert_eq!(find(&ours, &page), Some(facts("orders")));
    let observed = Observed {
        stream: &theirs,
        listing: Listing { answered: true, complete: true, ..Listing::default() },
        puts: Some((Err(invalid()), Err(invalid()))),
    };
    assert_eq!(interpret(&observed).exists, True);
}

#[test]
fn a_server_without_summaries_still_shows_the_name() {
    let page = StreamPage { names: vec!["a".into(), "orders".into()], ..StreamPage::default() };
    let found = find(&StreamRef::Name("orders".into()), &page).unwrap();
    assert_eq!((found.name.as_str(), found.status), ("orders", None));
    assert_eq!(find(&StreamRef::Name("order".into()), &page), None);
}

#[test]
fn nothing_stands_between_a_name_and_the_one_just_before_it() {
    for (name, others) in
        [("orders", ["orderr", "orderrz", "order"]), ("a-", ["a", "Z", "A-z"]), ("B0", ["B.z", "B", "A"])]
    {
        let before = just_before(name).unwrap();
        assert!(before.as_str() < name && before.len() <= MAX_NAME, "{before}");
        for other in others {
            assert!(other <= before.as_str() || other >= name, "{other} stands between {before} and {name}");
        }
    }
    assert_eq!(just_before("-"), None);
    assert_eq!(just_before(""), None);
    assert_eq!(just_before("ü"), None);
}
