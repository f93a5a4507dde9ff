//! Bugs as they have been made elsewhere, put into the product itself: the simulation finds each within some seeds. Those
//! of the bus, the runtime and several replicas are not simulated; the end-to-end tests have them.

use pangaea_faults::Plant;
use pangaea_sim::{Options, Seeds, Simulation};

const SEEDS_MAX: u64 = 120;

fn found(plant: Plant) -> String {
    let simulation = Simulation::planted(plant).unwrap();
    let seeds = Seeds { first: 1, count: SEEDS_MAX, jobs: 1, keep_going: false };
    let summary = seeds.run(&simulation, Options::default(), |_| ()).unwrap();
    let outcome = summary.failures.into_iter().next();
    let outcome = outcome.unwrap_or_else(|| panic!("{plant} was not found in {SEEDS_MAX} seeds"));
    let without = Simulation::prepare().unwrap().run(outcome.seed, Options::default()).unwrap();
    assert_eq!(without.failure, None, "seed {} fails without the bug too", outcome.seed);
    outcome.failure.unwrap_or_default()
}

macro_rules! plants {
    ($($name:ident = $plant:ident;)*) => {$(
        #[test]
        fn $name() {
            println!("{}", found(Plant::$plant));
        }
    )*};
}

plants! {
    finds_a_cursor_that_moves_before_the_work = CursorBeforeWork;
    finds_a_cursor_in_another_transaction = CursorInAnotherTransaction;
    finds_an_outbox_in_another_transaction = OutboxInAnotherTransaction;
    finds_idempotency_keys_without_their_scope = NoIdempotencyScope;
    finds_stock_without_a_guard = StockWithoutGuard;
    finds_stock_that_is_committed_after_the_capture = StockCommittedAfterCapture;
    finds_a_compensation_that_is_dropped = CompensationDropped;
    finds_an_effect_that_is_retried_under_a_new_key = EffectRetriedUnderANewKey;
    finds_money_in_floating_point = FloatMoney;
    finds_a_wall_clock_in_a_handler = WallClockInAHandler;
}
