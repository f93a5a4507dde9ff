use std::fmt;
use std::str::FromStr;

macro_rules! names {
    ($(#[$of:meta])* $type:ident { $($(#[$doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$of])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $type { $($(#[$doc])* $variant,)* }

        impl $type {
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $type {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                Self::ALL.iter().copied().find(|one| one.as_str() == text).ok_or_else(|| {
                    let known: Vec<_> = Self::ALL.iter().map(|one| one.as_str()).collect();
                    format!("{text:?} is none of {}", known.join(", "))
                })
            }
        }
    };
}

names! {
    /// A boundary of the runtime, from either side.
    Failpoint {
        /// The writer takes what waits.
        TakeBefore = "take.before",
        TakeAfter = "take.after",
        HandlerBefore = "handler.before",
        HandlerAfter = "handler.after",
        /// The batch's rows, the outbox among them, are written, not committed.
        OutboxBefore = "outbox.before",
        OutboxAfter = "outbox.after",
        CommitBefore = "commit.before",
        CommitAfter = "commit.after",
        /// A delivery that has been committed is acknowledged to the broker.
        AckBefore = "ack.before",
        AckAfter = "ack.after",
        /// The relay publishes a row.
        AppendBefore = "append.before",
        AppendAfter = "append.after",
        /// The relay hears that a row is stored.
        AppendAckBefore = "append_ack.before",
        AppendAckAfter = "append_ack.after",
        ProviderCallBefore = "provider_call.before",
        ProviderCallAfter = "provider_call.after",
        ProviderReplyBefore = "provider_reply.before",
        ProviderReplyAfter = "provider_reply.after",
        /// Another try of an effect is recorded.
        TryBefore = "try.before",
        TryAfter = "try.after",
        TimerBefore = "timer.before",
        TimerAfter = "timer.after",
        /// The lock that elects the leader is taken.
        LeaseBefore = "lease.before",
        LeaseAfter = "lease.after",
    }
}

names! {
    /// A bug as it has been made elsewhere.
    Plant {
        AckBeforeCommit = "ack_before_commit",
        CursorBeforeWork = "cursor_before_work",
        CursorInAnotherTransaction = "cursor_in_another_transaction",
        OutboxInAnotherTransaction = "outbox_in_another_transaction",
        RelaySkipsARow = "relay_skips_a_row",
        RelayPassesAFailedAppend = "relay_passes_a_failed_append",
        NoIdempotencyScope = "no_idempotency_scope",
        StockWithoutGuard = "stock_without_guard",
        StockCommittedAfterCapture = "stock_committed_after_capture",
        CompensationDropped = "compensation_dropped",
        EffectRetriedUnderANewKey = "effect_retried_under_a_new_key",
        TimerFiredByTwoReplicas = "timer_fired_by_two_replicas",
        HeadRowNotChecked = "head_row_not_checked",
        DeadLetterLostOnRedrive = "dead_letter_lost_on_redrive",
        FloatMoney = "float_money",
        WallClockInAHandler = "wall_clock_in_a_handler",
        SecretInAReply = "secret_in_a_reply",
    }
}

names! {
    /// A change of behaviour as a release may bring it by mistake. Unlike a [`Plant`] it need not harm a store, so that no
    /// auditor can find it, but the replay of recorded inputs must.
    Change {
        /// A unit price is rounded up to a whole unit of its currency.
        WrongRounding = "wrong_rounding",
        /// The stock of an order that ends without money is never asked for back.
        MissingCompensation = "missing_compensation",
        /// A field of an event has another name.
        RenamedField = "renamed_field",
        /// An event is not said.
        DroppedEvent = "dropped_event",
        /// An event is said twice.
        ExtraEvent = "extra_event",
        /// A row has the time of the machine, not the input's.
        WallClock = "wall_clock",
        /// An id is drawn, not derived.
        RandomId = "random_id",
        /// Two outputs of one input change places.
        SwappedOutputs = "swapped_outputs",
        /// A timer is set for later.
        ChangedDeadline = "changed_deadline",
        /// The last units of a SKU cannot be had.
        ChangedStockGuard = "changed_stock_guard",
        /// Lines stand in the order of a map whose hash seed is random.
        UnorderedMap = "unordered_map",
        /// The provider is asked for money of another currency.
        WrongCurrency = "wrong_currency",
    }
}

/// What happens at a failpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The process dies on the spot, as by SIGKILL.
    Crash,
    /// The step waits for so many milliseconds, then goes on.
    Hang { millis: u64 },
    /// The step fails with [`Injected`](crate::Injected).
    Fail,
}
