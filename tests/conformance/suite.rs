//! The list of all tests, which a line of `conformance!` turns into tests of one store.

macro_rules! conformance {
    ($($name:ident: $kind:literal, $commit:expr;)*) => { $(
        mod $name {
            use kvfs::store::driver::Commit;
            crate::suite::conformance!(@tests $kind, $commit, listing:
                the_root_is_there_and_empty,
                a_listing_gives_what_stat_says,
                a_listing_that_stops_goes_on_where_it_stopped,
                a_listing_by_a_prefix_gives_what_starts_with_it,
                a_directory_that_is_not_there_has_no_entries,
                an_empty_marker_is_not_listed_and_a_full_one_is,
                many_keys_are_listed_once_each,
                what_stays_is_given_once_while_others_come_and_go);
            crate::suite::conformance!(@tests $kind, $commit, values:
                what_is_put_is_read_back,
                any_range_is_cut_at_the_end,
                an_open_value_stays_as_it_was,
                versions_differ_where_values_do,
                a_large_value_is_one_version_in_any_order,
                a_value_over_the_limit_is_refused_before_it_is_read,
                nasty_keys_are_kept_as_they_are,
                a_key_over_the_limit_is_refused_and_absent,
                types_that_the_store_has_not_are_refused_and_absent,
                readers_beside_writers_see_whole_values,
                a_value_is_as_new_as_its_last_change);
            crate::suite::conformance!(@tests $kind, $commit, changes:
                conditions_are_checked,
                a_batch_is_all_or_nothing,
                changes_of_a_batch_follow_each_other,
                deleting_what_is_absent_is_no_error,
                deleting_a_value_leaves_what_is_below,
                a_value_is_renamed_alone,
                a_tree_is_renamed_whole,
                three_renames_of_a_batch_are_an_exchange,
                a_rename_without_replace_replaces_nothing,
                a_tree_is_never_renamed_into_itself_nor_over_another,
                renaming_what_is_absent_is_not_found,
                a_directory_is_made_once_and_lasts,
                only_an_empty_directory_is_removed,
                a_read_only_store_refuses_every_change,
                a_snapshot_stays_as_it_was,
                what_was_put_is_there_when_opened_again,
                a_key_is_checked_without_being_put,
                the_version_of_a_payload_is_the_version_of_its_value,
                another_separator_makes_other_names,
                without_a_separator_every_key_is_one_name,
                its_own_changes_are_not_told,
                usage_counts_keys);
            crate::suite::conformance!(@tests $kind, $commit, model: the_store_does_as_the_reference_does);
        }
    )* };
    (@tests $kind:expr, $commit:expr, $module:ident: $($test:ident),* $(,)?) => { $(
        #[test]
        fn $test() {
            let Some(case) = crate::case::Case::open($kind, $commit) else { return };
            crate::$module::$test(&case);
        }
    )* };
}
pub(crate) use conformance;
