//! The contract of a journal as one macro: an engine is tested with all of it or not at all.

/// Makes a test of every part of the contract, each with an engine of its own: `$engine` is an expression that gives a new,
/// empty [`Engine`](super::session::Engine).
macro_rules! journal_contract {
    ($engine:expr) => {
        $crate::journal::contract::journal_contract! { $engine =>
            appends::acknowledged_events_survive,
            appends::every_part_of_an_event_is_kept,
            appends::sequences_are_not_reused,
            appends::one_of_many_equal_arrivals_is_stored,
            appends::duplicates_are_known_for_the_window,
            appends::the_window_has_two_sides,
            appends::ids_without_a_window_are_found,
            appends::duplicates_are_known_after_removal,
            appends::batches_span_endpoints,
            appends::closing_keeps_settlements,

            claims::nothing_is_in_flight_twice,
            claims::unsettled_events_come_again,
            claims::released_events_come_again,
            claims::retries_come_when_due,
            claims::retries_of_a_clock_that_was_ahead_are_due,
            claims::many_retries_come_in_order,
            claims::claims_in_order_go_by_sequence,
            claims::claims_in_order_pass_what_has_been_removed,
            claims::large_events_come_in_several_claims,
            claims::what_is_held_up_does_not_wake,
            claims::readiness_is_not_missed,
            claims::due_retries_do_not_wake,

            consumers::consumers_stay_until_detached,
            consumers::start_is_where_it_says,
            consumers::detaching_counts_what_is_abandoned,
            consumers::another_consumer_of_the_name_replaces_it,
            consumers::a_new_consumer_begins_at_its_start,

            endpoints::a_new_endpoint_has_an_empty_log,
            endpoints::consumers_of_the_earlier_endpoint_lose_nothing,
            endpoints::events_of_the_earlier_endpoint_have_its_retention,
            endpoints::attaching_begins_a_new_endpoint,
            endpoints::endpoints_come_and_go,

            listings::listings_show_every_state,
            listings::lists_come_in_steps,
            listings::lists_come_newest_first,
            listings::lists_continue_while_the_log_changes,

            outcomes::deliveries_say_how_they_went,
            outcomes::every_outcome_is_known,
            outcomes::skipping_is_no_attempt,
            outcomes::releasing_changes_no_outcome,
            outcomes::redelivered_events_are_pending_again,
            outcomes::outcomes_stay_with_their_events,

            redelivery::dead_letters_come_again,
            redelivery::what_comes_again_comes_first_in_an_order,
            redelivery::ids_say_what_became_of_them,
            redelivery::ids_mean_the_newest_event,
            redelivery::nothing_from_before_the_start,
            redelivery::a_span_of_receipts_comes_again,
            redelivery::gone_events_count_by_their_own_receipt,
            redelivery::steps_go_through_everything_once,
            redelivery::queued_events_survive,
            redelivery::queued_events_come_in_order,
            redelivery::queued_events_pin_their_events,
            redelivery::sweeping_takes_nothing_that_is_queued,
            redelivery::redelivery_needs_a_consumer,
            redelivery::events_are_selected_by_sequence,
            redelivery::events_are_peeked_at_without_a_claim,
            redelivery::retries_are_hastened,
            redelivery::retries_are_hastened_in_steps,
            redelivery::what_is_left_of_an_earlier_endpoint_comes_again,

            retention::dead_letters_stay_listed,
            retention::sweeping_spares_what_is_not_settled,
            retention::large_holes_are_skipped,
            retention::endpoints_that_are_not_listed_keep_their_retention,
            retention::consumers_that_are_not_listed_have_the_default_retention,

            shares::an_endpoint_has_a_share,
            shares::a_namespace_has_a_share,
            shares::a_namespace_may_take_half_of_the_journal,
            shares::storage_is_counted,
        }

        /// Random operations have the same results as on the naive engine.
        #[test]
        fn agrees_with_the_naive_engine() {
            $crate::journal::model::agrees(|| Box::new($engine));
        }
    };
    ($engine:expr => $($part:ident::$name:ident),* $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let engine = $engine;
                let test = $crate::journal::$part::$name(&engine);
                // Some wait for an engine that may never answer.
                let limit = std::time::Duration::from_secs(300);
                tokio::time::timeout(limit, test).await.expect("it ends");
            }
        )*
    };
}

pub(crate) use journal_contract;
