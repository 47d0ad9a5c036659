from pathlib import Path

import pytest

from jft.data.spec import FORMATS, parse_spec
from jft.errors import InputError


@pytest.mark.parametrize(
    ("text", "scheme", "path", "options"),
    [
        ("digits", "digits", "", {}),
        ("folder:a/b", "folder", "a/b", {}),
        ("csv:a.csv?label=kind", "csv", "a.csv", {"label": "kind"}),
        ("csv:a.csv?label=a,b&split=s", "csv", "a.csv", {"label": "a,b", "split": "s"}),
        ("csv:a?b.csv", "csv", "a?b.csv", {}),  # no KEY=VALUE: part of the name
        ("csv:a?b.csv?label=x", "csv", "a?b.csv", {"label": "x"}),
        ("csv:a?b.csv?label=x?", "csv", "a?b.csv", {"label": "x?"}),
        ("csv:a:b.csv", "csv", "a:b.csv", {}),
        ("csv:a.csv?separator=%26", "csv", "a.csv", {"separator": "&"}),
        ("csv:a.csv?label=x%3Dy", "csv", "a.csv", {"label": "x=y"}),
        ("masks:d?values=0,255&void=", "masks", "d", {"values": "0,255", "void": ""}),
    ],
)
def test_data_is_scheme_path_and_options(text, scheme, path, options):
    spec = parse_spec(text)
    assert (spec.scheme, spec.path, dict(spec.options)) == (scheme, path, options)


def test_a_tilde_is_the_home_folder():
    assert parse_spec("folder:~/x").path == str(Path.home() / "x")


@pytest.mark.parametrize("text", ["", "pictures", "csvs:a", "folder:", "digits:x"])
def test_unknown_data_lists_all_forms(text):
    with pytest.raises(InputError, match="valid are digits, folder:PATH, csv:FILE"):
        parse_spec(text)


def test_a_bare_path_is_told_its_scheme(tmp_path):
    with pytest.raises(InputError, match="did you mean 'folder:"):
        parse_spec(str(tmp_path))
    with pytest.raises(InputError, match=r"did you mean 'csv:a\.csv'"):
        parse_spec("a.csv")


def test_an_unknown_option_gets_the_nearest():
    with pytest.raises(InputError, match=r"no option 'labels'.*did you mean 'label'"):
        parse_spec("csv:a.csv?labels=x")
    with pytest.raises(InputError, match="valid: train, test"):
        parse_spec("folder:a?label=x")
    with pytest.raises(InputError, match=r"has no option|unknown data"):
        parse_spec("digits?label=x")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("csv:a.csv?Label=x", r"'Label=x' are not options; .*did you mean 'label'"),
        ("csv:a.csv?label=x&", "'label=x&' are not options; .*KEY=.*, decimal$"),
        ("csv:a.csv?label=x&&split=y", "are not options"),
        ("csv:a.csv?&label=x", "are not options"),
        ("csv:a.csv?label =x", "are not options"),
        ("folder:a?size-x=3", "valid keys are train, test"),
    ],
)
def test_mistyped_options_are_not_taken_for_a_name(text, match):
    with pytest.raises(InputError, match=match):
        parse_spec(text)


def test_a_file_that_is_there_may_be_called_like_options(tmp_path):
    path = str(tmp_path / "a.csv?Label=x")
    Path(path).touch()
    assert parse_spec(f"csv:{path}").path == path


@pytest.mark.parametrize("scheme", FORMATS)
def test_every_usage_begins_with_its_scheme(scheme):
    assert FORMATS[scheme].usage.partition(":")[0] == scheme
