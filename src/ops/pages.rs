//! Lists of the API server, page by page. What is in them is the caller's.

use std::fmt::Debug;

use kube::api::ListParams;
use kube::{Api, Resource};
use serde::de::DeserializeOwned;

/// Objects of one page.
const PAGE: u32 = 500;

/// Hands over every object, of at most so many pages. Whether that was all.
///
/// # Errors
/// What the API server says to one of the pages.
pub async fn each<K>(api: &Api<K>, params: &ListParams, most: usize, mut take: impl FnMut(K)) -> Result<bool, kube::Error>
where
    K: Resource + Clone + Debug + DeserializeOwned,
{
    let mut params = params.clone().limit(PAGE);
    for _ in 0..most {
        let page = api.list(&params).await?;
        let next = page.metadata.continue_.filter(|token| !token.is_empty());
        page.items.into_iter().for_each(&mut take);
        match next {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(true),
        }
    }
    Ok(false)
}
