//! What has to be answered before what.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

use super::plan::Lanes;

/// The last command under way in each lane.
#[derive(Clone, Default)]
pub(super) struct Order(Arc<Mutex<Tails>>);

#[derive(Default)]
struct Tails {
    last: HashMap<String, (u64, CancellationToken)>,
    next: u64,
}

/// A command's place: it may go when those before it have gone, and those behind it when this is dropped.
pub(super) struct Turn {
    order: Order,
    number: u64,
    gives: Vec<String>,
    before: Vec<CancellationToken>,
    has_gone: CancellationToken,
}

// === impl Order ===

impl Order {
    /// Commands take their turns in the order in which they are recorded.
    pub(super) fn enter(&self, lanes: &mut Lanes) -> Turn {
        let mut tails = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (number, has_gone) = (tails.next, CancellationToken::new());
        tails.next += 1;
        let before = lanes.needs.iter().filter_map(|lane| tails.last.get(lane)).map(|(_, gone)| gone.clone()).collect();
        let gives = std::mem::take(&mut lanes.gives);
        for lane in &gives {
            tails.last.insert(lane.clone(), (number, has_gone.clone()));
        }
        Turn { order: self.clone(), number, gives, before, has_gone }
    }
}

// === impl Turn ===

impl Turn {
    pub(super) async fn comes(&self) {
        for before in &self.before {
            before.cancelled().await;
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.has_gone.cancel();
        let mut tails = self.order.0.lock().unwrap_or_else(PoisonError::into_inner);
        for lane in &self.gives {
            if tails.last.get(lane).is_some_and(|(number, _)| *number == self.number) {
                tails.last.remove(lane);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::{Lanes, Order};

    fn lanes(needs: &[&str], gives: &[&str]) -> Lanes {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Lanes { needs: owned(needs), gives: owned(gives) }
    }

    #[tokio::test]
    async fn a_command_waits_for_its_key_and_for_the_ids_that_it_names_and_for_nothing_else() {
        let order = Order::default();
        let places = order.enter(&mut lanes(&["order a"], &["order a", "ord_1"]));
        let other = order.enter(&mut lanes(&["order b"], &["order b"]));
        let same_key = order.enter(&mut lanes(&["order a"], &["order a"]));
        let cancels = order.enter(&mut lanes(&["order ord_1", "ord_1"], &["order ord_1"]));
        let short = Duration::from_millis(20);
        assert!(timeout(short, places.comes()).await.is_ok() && timeout(short, other.comes()).await.is_ok());
        assert!(timeout(short, same_key.comes()).await.is_err() && timeout(short, cancels.comes()).await.is_err());
        drop(places);
        assert!(timeout(short, same_key.comes()).await.is_ok() && timeout(short, cancels.comes()).await.is_ok());
        drop((other, same_key, cancels));
        assert!(order.0.lock().unwrap().last.is_empty());
    }
}
