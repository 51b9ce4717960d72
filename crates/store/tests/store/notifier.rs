//! Wake-ups within and between nodes.

use std::time::Duration;

use crate::{claim_one, create, entry, fresh_with_database, open, ours, warning};

/// Far longer than a wake-up takes: what has not come by then does not come.
const SOON: Duration = Duration::from_secs(10);

#[tokio::test]
async fn waiters_of_this_and_of_other_nodes_are_woken() {
    let (here, database) = fresh_with_database().await;
    let there = open(&database.app_url).await;
    // The other node listens once it has heard of a first run.
    let mut listening = there.watch_queue();
    tokio::time::timeout(SOON, async {
        loop {
            create(&here).await;
            let heard = tokio::time::timeout(Duration::from_millis(200), listening.woken());
            if heard.await.is_ok() {
                break;
            }
        }
    })
    .await
    .expect("the other node hears of new runs");
    let claim = claim_one(&here).await;
    let mut near = here.scoped(&ours()).watch_run(claim.run_id);
    let mut far = there.scoped(&ours()).watch_run(claim.run_id);
    let mut cancel = there.watch_cancel(claim.run_id);
    here.journal(&claim).commit(&entry(vec![warning("!")])).await.unwrap();
    tokio::time::timeout(SOON, near.woken()).await.expect("woken here");
    tokio::time::timeout(SOON, far.woken()).await.expect("woken there");
    here.scoped(&ours()).cancel_run(claim.run_id, "me", None).await.unwrap();
    tokio::time::timeout(SOON, cancel.woken()).await.expect("asked to stop there");
}
