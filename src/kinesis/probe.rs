//! Effects: asks the service what a destination may do, without writing anything.
//!
//! `ListStreams` for the stream's state, then a `PutRecord` and a `PutRecords` that an authorised service must refuse as invalid
//! (`delivery.md`). A handful of calls, each sent once; what the answers mean is decided in [`findings`].

pub mod findings;

use super::client::{StreamClient, StreamFacts, StreamPage};
use super::outcome::RequestError;
use super::target::StreamRef;
pub use findings::{Action, CredentialFinding, Permission, ProbeReport, Ternary};
use findings::{Listing, Observed};

/// Pages that are read in search of one name: more would eat up the account's five calls a second.
const MAX_PAGES: usize = 20;

/// How the permissions to put are checked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Method {
    /// By puts with a hash key out of range, which write nothing.
    #[default]
    InvalidHashKey,
    /// Not at all.
    None,
}

/// Asks everything once, with one client, and says what is known now.
pub async fn probe(client: &StreamClient, method: Method) -> ProbeReport {
    let mut listing = seek(client).await;
    let puts = match method {
        Method::InvalidHashKey => Some((client.check_put_record().await, client.check_put_records().await)),
        Method::None => None,
    };
    let missing = matches!(puts, Some((Err(RequestError::StreamNotFound { .. }), _)));
    // A stream known by its ARN may be of another account, where no page would show it.
    let by_name = matches!(client.stream(), StreamRef::Name(_));
    if listing.is_open() && !missing && (by_name || listing.error.is_some()) {
        listing = page_through(client).await;
    }
    findings::interpret(&Observed { stream: client.stream(), listing, puts })
}

/// One call, for the page on which the stream must come first.
async fn seek(client: &StreamClient) -> Listing {
    let page = client.list_streams(findings::just_before(client.stream().name()).as_deref()).await;
    match page {
        Ok(page) => Listing { answered: true, found: found(client, &page), ..Listing::default() },
        Err(error) => Listing { error: Some(error), ..Listing::default() },
    }
}

/// Page by page from the start, for servers whose order is another, or that only start behind streams that exist.
async fn page_through(client: &StreamClient) -> Listing {
    let mut listing = Listing::default();
    let mut last: Option<String> = None;
    for _ in 0..MAX_PAGES {
        match client.list_streams(last.as_deref()).await {
            Ok(page) => {
                listing.answered = true;
                listing.found = found(client, &page);
                listing.complete = !page.has_more;
                if listing.found.is_some() || listing.complete || page.names.last() == last.as_ref() {
                    break;
                }
                last = page.names.last().cloned();
            }
            Err(error) => {
                listing.error = Some(error);
                break;
            }
        }
    }
    listing
}

fn found(client: &StreamClient, page: &StreamPage) -> Option<StreamFacts> {
    findings::find(client.stream(), page)
}
