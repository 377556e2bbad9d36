"""Where a setting comes from, which source wins, and what is said when something is wrong."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields
from pathlib import Path

import pytest

from relay.config import Config, ConfigError, LimitsConfig, load_config
from relay.config_file import annotated_toml, plain_toml, setting_meanings
from relay.config_rules import is_loopback, unusable_files
from relay.config_sources import SECTIONS, VARIABLES
from relay.toml_lines import line_of


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for variable in list(os.environ):
        if variable.startswith("KSMP_"):
            monkeypatch.delenv(variable)


def write(directory: Path, text: str) -> Path:
    file = directory / "relay.toml"
    file.write_text(text, encoding="utf-8")
    return file


def problems(file: Path | None = None, **overrides: dict[str, object]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_config(file, overrides)
    return [str(problem) for problem in caught.value.problems]


def test_without_file_and_variables_everything_has_its_documented_default():
    config = load_config()

    assert config == Config()
    assert (config.server.host, config.server.port) == ("127.0.0.1", 8765)
    assert config.auth.algorithms == ("Ed25519", "EdDSA", "ES256")
    assert config.limits.max_ciphertext_bytes == 262_144
    assert config.limits.max_frame_bytes == 262_144 * 3 // 2 + 16_384
    assert config.store.path.name == "ksmp-relay"


def test_a_flag_wins_over_the_environment_over_the_file_over_the_default(tmp_path, monkeypatch):
    file = write(tmp_path, "[server]\nport = 1111\ndrain_seconds = 3\n[limits]\nsends_burst = 7\n")
    monkeypatch.setenv("KSMP_SERVER__PORT", "2222")
    monkeypatch.setenv("KSMP_SERVER__DRAIN_SECONDS", "4")

    config = load_config(file, {"server": {"port": 3333}})

    assert config.server.port == 3333
    assert config.server.drain_seconds == 4
    assert config.limits.sends_burst == 7
    assert config.server.host == "127.0.0.1"


def test_every_setting_but_what_makes_a_laboratory_can_be_set_by_its_environment_variable(
    monkeypatch,
):
    examples = {"tuple": "[]", "bool": "true", "int": "5000000", "float": "2.5"}
    for variable, (section, key) in VARIABLES.items():
        default = getattr(getattr(Config(), section), key)
        value = examples.get(type(default).__name__, str(default or "somewhere"))
        monkeypatch.setenv(variable, value)
    monkeypatch.setenv("KSMP_AUTH__ALGORITHMS", '["ES256"]')
    monkeypatch.setenv("KSMP_SERVER__PORT", "1")
    monkeypatch.setenv("KSMP_ADMIN__HOST", "::1")
    monkeypatch.setenv("KSMP_ADMIN__PORT", "2")
    monkeypatch.setenv("KSMP_LIMITS__MAX_FRAME_BYTES", "8000000")

    (problem,) = problems()
    assert "KSMP_LAB__ENABLED cannot be set here" in problem

    monkeypatch.delenv("KSMP_LAB__ENABLED")
    config = load_config(overrides={"lab": {"enabled": True}})

    assert config.auth.algorithms == ("ES256",)
    assert config.limits.keepalive_seconds == 2.5
    assert config.limits.connections == 5_000_000
    assert config.server.allow_plaintext is True
    assert config.auth.jwks_file == Path("somewhere")
    assert (config.admin.host, config.admin.port) == ("::1", 2)


def test_a_list_in_the_environment_is_json(monkeypatch):
    monkeypatch.setenv("KSMP_SERVER__ALLOWED_ORIGINS", '["https://a.example", "http://b:8080"]')

    assert load_config().server.allowed_origins == ("https://a.example", "http://b:8080")


def test_a_list_in_the_environment_that_is_not_json_is_refused_with_an_example(monkeypatch):
    monkeypatch.setenv("KSMP_AUTH__ALGORITHMS", "ES256")

    (problem,) = problems()

    assert problem.startswith("KSMP_AUTH__ALGORITHMS must be a list.")
    assert '["a", "b"]' in problem


def test_an_empty_variable_is_as_good_as_none(monkeypatch):
    monkeypatch.setenv("KSMP_AUTH__JWKS_FILE", "")
    monkeypatch.setenv("KSMP_SERVER__PORT", "")

    assert load_config() == Config()


def test_an_unknown_key_is_an_error_with_file_line_and_suggestion(tmp_path):
    file = write(tmp_path, "# mine\n[server]\nhost = '::1'\n\nprot = 1\n")

    assert problems(file) == [f"{file}:5: [server] prot is not a setting. Did you mean port?"]


def test_an_unknown_section_is_an_error_with_file_line_and_suggestion(tmp_path):
    file = write(tmp_path, "[server]\n[limit]\nconnections = 3\n")

    assert problems(file) == [f"{file}:2: [limit] is not a section. Did you mean limits?"]


def test_an_unknown_variable_is_an_error_with_a_suggestion(monkeypatch):
    monkeypatch.setenv("KSMP_SERVER__PROT", "1")

    assert problems() == [
        "KSMP_SERVER__PROT (environment) is not a setting. Did you mean KSMP_SERVER__PORT?"
    ]


def test_all_problems_are_told_at_once_each_at_its_source(tmp_path, monkeypatch):
    file = write(tmp_path, '[log]\nlevel = "loud"\n[limits]\nconnections = 0\n[auth]\nx = 1\n')
    monkeypatch.setenv("KSMP_LIMITS__SENDS_BURST", "many")
    monkeypatch.setenv("KSMP_NOTHING", "1")

    told = problems(file, server={"port": 70_000})

    assert [problem.split(" ")[0] for problem in sorted(told)] == sorted(
        [
            "--port",
            f"{file}:2:",
            f"{file}:4:",
            f"{file}:6:",
            "KSMP_LIMITS__SENDS_BURST",
            "KSMP_NOTHING",
        ]
    )


def test_values_never_appear_in_what_is_told(tmp_path, monkeypatch):
    file = write(tmp_path, '[server]\nport = "canary"\n[auth]\nalgorithms = ["canary"]\n')
    monkeypatch.setenv("KSMP_LIMITS__CONNECTIONS", "canary")

    assert len(problems(file)) == 3
    assert "canary" not in "".join(problems(file))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[server\n", "is not TOML"),
        ("a = " + 100_000 * "[", "holds a number or a list that no setting has"),
        ("[limits]\nconnections = " + 5_000 * "9", "holds a number or a list that no setting has"),
        ("server = 3\n", "is a section and not a value"),
        ('[server]\nhost = "0.0.0.0"\n', "is not a loopback address"),
        ('[server]\ntls_key = "key.pem"\n', "needs tls_certificate as well"),
        ('[server]\nallowed_origins = ["https://a.example/path"]\n', "not an origin"),
        ('[server]\ntrusted_proxies = ["10.0.0.0/99"]\n', "not an address or a network"),
        ("[limits]\nmax_ciphertext_bytes = 1000\nmax_frame_bytes = 1000\n", "is too small"),
        ("[auth]\nalgorithms = []\n", "at least 1"),
        ('[auth]\nalgorithms = ["HS256"]\n', "must be"),
        ('[auth]\nalgorithms = ["none"]\n', "must be"),
        ('[server]\nwebsocket = "other"\n', "must be"),
    ],
)
def test_what_cannot_be_used_is_refused_with_a_reason(tmp_path, text, told):
    file = write(tmp_path, text)

    (problem,) = problems(file)

    assert problem.startswith(str(file))
    assert told in problem


def test_a_missing_file_is_told_with_what_to_do(tmp_path):
    (problem,) = problems(tmp_path / "none.toml")

    assert "No such file" in problem
    assert "config init" in problem


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost"])
def test_plaintext_is_allowed_on_loopback(host):
    assert is_loopback(host)
    assert load_config(None, {"server": {"host": host}}).server.host == host


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "relay.example", "127.0.0.1.evil"])
def test_plaintext_on_any_other_address_needs_an_explicit_setting(host):
    assert "allow_plaintext = true" in problems(server={"host": host})[0]

    config = load_config(None, {"server": {"host": host, "allow_plaintext": True}})

    assert config.server.host == host


def test_a_path_in_the_file_is_relative_to_the_file_and_elsewhere_to_the_working_directory(
    tmp_path, monkeypatch
):
    file = write(tmp_path, '[store]\npath = "data"\n[auth]\njwks_file = "/etc/keys.json"\n')

    assert load_config(file).store.path == tmp_path / "data"
    assert load_config(file).auth.jwks_file == Path("/etc/keys.json")
    monkeypatch.setenv("KSMP_STORE__PATH", "data")
    assert load_config(file).store.path == Path("data")


def test_files_that_cannot_be_read_are_named_with_their_setting(tmp_path):
    overrides = {
        "server": {"tls_certificate": tmp_path / "no", "tls_key": tmp_path / "no"},
        "auth": {"jwks_file": tmp_path},
    }

    found = {(rule.section, rule.key) for rule in unusable_files(load_config(None, overrides))}

    assert found == {
        ("server", "tls_certificate"),
        ("server", "tls_key"),
        ("auth", "jwks_file"),
    }


def test_a_certificate_with_another_key_is_found_before_the_relay_starts(tmp_path):
    import trustme

    authority = trustme.CA()
    one, other = authority.issue_cert("localhost"), authority.issue_cert("localhost")
    one.cert_chain_pems[0].write_to_path(str(tmp_path / "certificate.pem"))
    one.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    other.private_key_pem.write_to_path(str(tmp_path / "other.pem"))

    def found(key: str) -> list[str]:
        server = {"tls_certificate": tmp_path / "certificate.pem", "tls_key": tmp_path / key}
        return [rule.key for rule in unusable_files(load_config(None, {"server": server}))]

    assert found("key.pem") == []
    assert found("other.pem") == ["tls_certificate"]


def test_the_frame_limit_follows_the_ciphertext_limit_unless_it_is_set():
    assert LimitsConfig(max_ciphertext_bytes=1_000).max_frame_bytes == 1_500 + 16_384
    assert LimitsConfig(max_frame_bytes=500_000).max_frame_bytes == 500_000


def test_a_configuration_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        Config().server.port = 1  # type: ignore[misc]


def test_every_setting_says_what_it_means():
    for section in SECTIONS.values():
        assert {setting.name for setting in fields(section)} == set(setting_meanings(section))


def test_the_file_that_init_writes_is_the_default_and_its_lines_can_be_switched_on(tmp_path):
    text = annotated_toml(Config())
    assert load_config(write(tmp_path, text)) == Config()

    settings = [line for line in text.splitlines() if line.startswith("# ") and " = " in line]
    switched_on = text
    for line in settings:
        if not line.endswith('"…"'):
            switched_on = switched_on.replace(line, line.removeprefix("# "))

    assert len(settings) == len(VARIABLES)
    assert load_config(write(tmp_path, switched_on)) == Config()


def test_the_configuration_shown_loads_as_itself(tmp_path):
    config = load_config(
        None,
        {
            "auth": {"issuer": 'quoted "name" \\ \x7f'},
            "server": {"allowed_origins": ["https://a.example"]},
        },
    )

    assert load_config(write(tmp_path, plain_toml(config))) == config


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[server]\nport = 1\n", 2),
        ("[ server ] # here\n\n  'port' = 1\n", 3),
        ("server.port = 1\n", 1),
        ("[log]\nport = 1\n[server]\nport = 1\n", 4),
        ("server = { port = 1 }\n", 1),
        ('[server]\nhost = """\nx\nport = 1\n"""\nport = 2\n', 6),
        ("[log]\nlevel = 1\n", None),
    ],
)
def test_the_line_of_a_setting_is_found_however_it_is_written(text, line):
    assert line_of(text, "server", "port") == line


def test_the_documentation_has_every_setting_with_its_default_and_meaning():
    documentation = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()
    special = {"path": "the user's data directory", "max_frame_bytes": "`0`"}
    plain = {part.partition("]")[0]: part for part in f"\n{plain_toml(Config())}".split("\n[")}

    for name, section in SECTIONS.items():
        lines = (line.partition(" = ") for line in plain[name].splitlines())
        defaults = {key: value for key, _, value in lines}
        assert f"\n## [{name}]\n\n{section.__doc__}\n" in documentation
        for key, meaning in setting_meanings(section).items():
            default = f"`{defaults[key]}`" if key in defaults else ""
            assert f"\n| `{key}` | {special.get(key, default)} | {meaning} |\n" in documentation


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "relay.example"])
def test_the_admin_listener_is_refused_an_address_that_others_can_reach(monkeypatch, host):
    monkeypatch.setenv("KSMP_ADMIN__HOST", host)

    with pytest.raises(ConfigError) as refused:
        load_config()
    (problem,) = refused.value.problems
    assert problem.where == "KSMP_ADMIN__HOST"
    assert "loopback" in problem.what
