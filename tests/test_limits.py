"""Every limit that can be configured has its tests: at the limit, and one past it."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Final

import pytest

from relay.config import LimitsConfig

TESTS: Final = Path(__file__).parent

# setting → tests that show what fits and what no longer does. Where an exact edge depends on what
# the disk or the clock does, it is shown with both in the test's hands, below the sockets.
SHOWN_BY: Final = {
    "max_ciphertext_bytes": [
        "test_a_ciphertext_one_byte_past_the_limit_is_too_large",
    ],
    "max_frame_bytes": [
        "test_a_message_one_byte_past_the_limit_closes_with_1009",
        "test_an_oversized_frame_is_refused_at_its_header",
    ],
    "unacked_sends": [
        "test_past_the_limit_of_unanswered_sends_nothing_is_read_until_answers_came",
        "test_one_read_full_of_sends_is_taken_in_portions",
        "test_more_sends_than_may_be_unacked_are_all_acked_in_the_end",
    ],
    "unacked_bytes": [
        "test_past_the_limit_of_unanswered_sends_nothing_is_read_until_answers_came",
        "test_one_event_larger_than_the_limit_of_unanswered_bytes_is_taken",
    ],
    "sends_per_second": [
        "test_after_the_burst_each_token_comes_at_its_time_and_not_before",
        "test_sends_past_the_burst_are_refused_and_accepted_after_the_hint",
        "test_sending_at_far_more_than_ten_times_the_rate_is_cut_off",
        "test_who_goes_on_at_ten_times_the_rate_is_cut_off",
    ],
    "sends_burst": [
        "test_devices_of_a_user_share_one_rate_and_users_do_not",
        "test_all_connections_of_a_user_share_one_rate_and_reconnecting_does_not_help",
    ],
    "mailbox_length": [
        "test_no_more_letters_wait_than_the_limit_and_taking_makes_room",
        "test_a_full_mailbox_refuses_before_a_number_is_assigned",
    ],
    "mailbox_bytes": [
        "test_no_more_bytes_wait_than_the_limit_and_taking_makes_room",
        "test_one_letter_always_fits_an_empty_mailbox_and_nothing_fits_beside_it",
        "test_a_full_mailbox_refuses_before_a_number_is_assigned",
    ],
    "commit_bytes": [
        "test_transaction_takes_no_more_than_its_bytes_and_leaves_nothing_behind",
        "test_append_larger_than_a_transaction_goes_alone",
    ],
    "sends_under_way_bytes": [
        "test_bytes_under_way_in_the_process_are_limited_and_given_back",
    ],
    "outbound_bytes": [
        "test_a_client_that_does_not_read_is_not_read_and_misses_nothing",
        "test_a_stalled_transport_has_a_bounded_queue_and_gets_the_rest_later",
    ],
    "write_seconds": [
        "test_whoever_reads_nothing_for_too_long_is_cut_off",
        "test_a_client_that_takes_nothing_for_too_long_is_closed_as_slow",
    ],
    "connections_per_user": [
        "test_connections_past_the_limit_of_a_user_get_429",
    ],
    "connections_per_address": [
        "test_connections_past_the_limit_of_an_address_get_429_whatever_the_header_says",
        "test_behind_a_trusted_proxy_each_address_it_names_has_its_own_limit",
        "test_a_connection_is_counted_by_the_last_address_that_is_vouched_for",
    ],
    "connections": [
        "test_connections_past_the_limit_of_the_relay_get_503",
    ],
    "handshakes": [
        "test_silent_handshakes_past_their_limit_cost_the_oldest_and_no_connection",
        "test_one_handshake_too_many_costs_the_oldest_its_connection_without_an_answer",
    ],
    "handshake_seconds": [
        "test_who_does_not_finish_in_time_is_told_and_closed",
        "test_drops_of_a_request_do_not_extend_its_time",
    ],
    "control_frames_per_second": [
        "test_one_control_frame_past_the_limit_of_a_second_closes_with_4429",
        "test_control_frames_within_the_limit_are_answered_for_ever",
    ],
    "fragments_per_frame": [
        "test_one_fragment_past_the_limit_closes_with_1009",
    ],
    "keepalive_seconds": [
        "test_silence_is_broken_by_a_ping_and_ends_with_4408",
        "test_a_silent_client_is_pinged_once_and_closed_after_twice_the_keepalive",
    ],
    "live_conversations": [
        "test_past_the_limit_the_longest_unused_makes_room",
    ],
    "conversation_idle_seconds": [
        "test_an_unused_conversation_ends_its_task_and_later_continues_its_numbers",
    ],
    "recent_records_bytes": [
        "test_the_oldest_go_first_and_the_bytes_stay_within_the_limit",
    ],
    "new_conversations_per_hour": [
        "test_conversations_past_the_hourly_limit_are_refused_until_the_hint_and_no_others",
        "test_as_many_conversations_as_the_limit_are_begun_and_the_next_when_the_hint_says",
        "test_no_period_holds_more_than_the_limit",
    ],
    "stored_bytes_per_sender": [
        "test_a_sender_stores_to_the_byte_what_the_quota_allows_and_for_ever",
        "test_one_byte_less_than_that_and_the_last_is_refused",
        "test_what_fits_to_the_byte_is_stored_and_one_byte_more_is_not",
    ],
    "stored_bytes_per_inbox": [
        "test_a_full_inbox_refuses_what_comes_and_what_its_owner_sends",
        "test_what_fits_to_the_byte_is_stored_and_one_byte_more_is_not",
    ],
    "min_free_bytes": [
        "test_low_free_space_refuses_what_is_new_and_answers_what_is_known",
        "test_with_less_free_space_than_the_limit_nothing_new_is_stored_and_reading_goes_on",
    ],
}


def test_every_limit_has_tests() -> None:
    assert set(SHOWN_BY) == {field.name for field in fields(LimitsConfig)}
    assert all(SHOWN_BY.values())


@pytest.fixture(scope="module")
def written() -> set[str]:
    """The name of every test there is."""
    names = re.compile(r"^(?:async )?def (test_\w+)", re.MULTILINE)
    return {
        name for file in TESTS.rglob("test_*.py") for name in names.findall(file.read_text("utf-8"))
    }


@pytest.mark.parametrize("limit", SHOWN_BY)
def test_the_tests_that_show_a_limit_are_there(limit: str, written: set[str]) -> None:
    assert set(SHOWN_BY[limit]) <= written
