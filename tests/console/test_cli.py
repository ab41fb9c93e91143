"""The command line: what is said of a word that is none, and of URLs that cannot be."""

import pytest

from console.cli.main import build_parser


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("sned", "'sned' is no command: did you mean send? (see edge-console --help)"),
        ("--config x docotr", "'docotr' is no command: did you mean doctor? (see edge-console --help)"),
        ("ledger lss", "'lss' is no command: did you mean ls? (see edge-console ledger --help)"),
        ("secret fingerprnt", "'fingerprnt' is no command: did you mean fingerprint? (see edge-console secret --help)"),
        ("--log-format jsn", "'jsn' is no choice for --log-format: did you mean json? (see edge-console --help)"),
        ("--log-format x", "'x' is no choice for --log-format; there are text, json (see edge-console --help)"),
        (
            "send x --backend https://h:0",
            "argument --backend: expected a URL with a port from 1 to 65535, found 'https://h:0' (see edge-console send --help)",
        ),
    ],
)
def test_f83_a_wrong_word_is_one_sentence_with_the_right_one(capsys: pytest.CaptureFixture[str], command: str, said: str) -> None:
    with pytest.raises(SystemExit) as ended:
        build_parser().parse_args(command.split())
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"edge-console: {said}\n"
