//! Pure: what a refusal of the API server means, and how to mend it.

use std::error::Error as _;
use std::fmt::Write as _;

use kube::runtime::watcher;

use super::scope::Place;

/// What was asked of the API server.
#[derive(Debug, Clone)]
pub struct Asked<'a> {
    /// The verbs, as rules have them.
    pub verbs: &'a str,
    /// The resource, as rules have it.
    pub resource: &'a str,
    /// Where.
    pub place: &'a Place,
}

/// Whether the API server forbids it.
pub fn is_forbidden(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 403)
}

/// Whether the API server does not know it.
pub fn is_missing(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

/// The cause of a watch's trouble, where it has one of its own.
pub fn cause(error: &watcher::Error) -> Option<&kube::Error> {
    match error {
        watcher::Error::InitialListFailed(cause)
        | watcher::Error::WatchStartFailed(cause)
        | watcher::Error::WatchFailed(cause) => Some(cause),
        watcher::Error::WatchError(_) | watcher::Error::NoResourceVersion => None,
    }
}

/// What is wrong with a watch, and how to mend it.
pub fn of_watch(error: &watcher::Error, asked: &Asked<'_>) -> String {
    match cause(error) {
        Some(cause) => of_request(cause, asked),
        None => format!("{} of {} cannot be watched: {error}", asked.resource, asked.place),
    }
}

/// What is wrong with a request, and how to mend it.
pub fn of_request(error: &kube::Error, asked: &Asked<'_>) -> String {
    let Asked { verbs, resource, place } = asked;
    if is_forbidden(error) {
        let role = if place.0.is_some() { "Role" } else { "ClusterRole" };
        return format!(
            "the operator may not {verbs} {resource} in {place}: bind its service account to a {role} that grants {verbs} on \
             {resource}"
        );
    }
    if is_missing(error) && resource.contains('.') {
        return format!(
            "the API server knows no {resource}: install the definitions by `activation-operator crd | kubectl apply \
             --server-side -f -`"
        );
    }
    format!("the API server cannot be asked to {verbs} {resource} in {place}: {}", chain(error))
}

/// An error with its causes: what the outermost says alone is often nothing but "service error".
pub fn chain(error: &kube::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            // A string takes every write.
            let _ = write!(text, ": {cause_text}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    fn refusal(code: u16) -> watcher::Error {
        let status = Status::failure("no", "Reason").with_code(code);
        watcher::Error::InitialListFailed(kube::Error::Api(status.boxed()))
    }

    #[test]
    fn a_refusal_says_what_is_missing_and_where() {
        let namespace = Place(Some("shop".to_owned()));
        let asked =
            Asked { verbs: "list and watch", resource: "kinesisdestinations.activation.dev", place: &namespace };
        let forbidden = of_watch(&refusal(403), &asked);
        assert!(forbidden.contains("may not list and watch kinesisdestinations.activation.dev in namespace shop"));
        assert!(forbidden.contains("a Role that grants list and watch"), "{forbidden}");
        let everywhere = Asked { place: &Place(None), ..asked.clone() };
        assert!(
            of_watch(&refusal(403), &everywhere).contains("in the cluster: bind its service account to a ClusterRole")
        );
        assert!(of_watch(&refusal(404), &asked).contains("activation-operator crd | kubectl apply"));
        assert!(of_watch(&refusal(500), &asked).contains("cannot be asked to list and watch"));
    }
}
