"""Export files → events, and what is wrong with their lines."""

import gzip
import json
import lzma
from pathlib import Path
from typing import Any

import pytest

from api.ingest import generic
from cli.order_exports import Event, ExportFile, FileError, is_csv, parse, sheet
from cli.order_lines import BadLine
from shared.ids import uuid7
from support.orders import order

HEADER = "id;status;currency;total;created;email;city\n"
ROWS = HEADER + "1;completed;EUR;12,50;2026-05-28 10:00;jane@example.com;Köln\n2;processing;EUR;5;28.05.2026;;\n"


def read(path: Path, *, encoding: str = "", skip: int = 0) -> list[Event | BadLine]:
    return list(ExportFile(path, sheet(path, encoding=encoding) if is_csv(path) else None, skip=skip))


def written(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def orders(found: list[Event | BadLine]) -> list[Any]:
    return [json.loads(one.body)["data"] for one in found if isinstance(one, Event)]


def bad(found: list[Event | BadLine]) -> list[tuple[int, str]]:
    return [(one.number, one.why) for one in found if isinstance(one, BadLine)]


def test_an_order_and_a_webhook_of_it_are_the_same_event_which_the_api_takes():
    plain, webhook = order(), {"topic": "order.updated", "order": order()}
    one, two = (parse(7, json.dumps(line).encode()) for line in (plain, webhook))
    assert one == two
    assert isinstance(one, Event)
    taken = generic.read(json.loads(one.body), store_id=uuid7(), key=b"key", fact_id=uuid7())
    assert isinstance(taken, generic.Taken)
    assert taken.fact.occurred_at.isoformat() == "2026-05-28T16:45:00+00:00"


def test_an_event_s_id_is_of_what_the_order_holds_in_whatever_order():
    def id_of(changes: dict[str, Any]) -> str:
        given = order(**changes)
        line = parse(1, json.dumps(dict(reversed(given.items())) if "total" in changes else given).encode())
        assert isinstance(line, Event)
        return str(json.loads(line.body)["id"])

    assert id_of({}) == id_of({"total": "249.00"})
    assert id_of({}) != id_of({"total": "249.01"})
    assert id_of({}).startswith("order-4821-")


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"not json", "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (b"[" * 100_000, "is nested too deep"),
        (b"[{}]", "is a list: write each order on a line of its own"),
        (b"17", "is no order of wc/v3, and no webhook of one"),
        (b'{"order": {"id": 1}}', "is no order of wc/v3, and no webhook of one"),
        (b'{"topic": "order.deleted", "order": {"id": 1}}', "is of the topic order.deleted, which holds no order"),
        (b'{"topic": "order.created", "order": 1}', "is of the topic order.created, which holds no order"),
        (b'{"id": "1", "date_modified_gmt": "2026-05-28T16:45:00"}', "id must be a whole number"),
        (b'{"id": 1}', "date_modified_gmt is missing"),
        (b'{"id": 1, "date_modified_gmt": "2026-05-28T16:45:00", "x": 1e999}', "holds a number that is none"),
    ],
)
def test_a_line_that_holds_no_order_says_why(line, why):
    assert parse(3, line) == BadLine(3, why)


@pytest.mark.parametrize(
    ("name", "pack"), [("o.ndjson", bytes), ("o.ndjson.gz", gzip.compress), ("o.json.xz", lzma.compress)]
)
def test_ndjson_is_read_packed_or_not(tmp_path, name, pack):
    lines = b"".join(json.dumps(order(id=number)).encode() + b"\n" for number in (1, 2, 3)) + b"\n{}\n"
    path = written(tmp_path / name, pack(lines))
    assert [found["id"] for found in orders(read(path))] == [1, 2, 3]
    assert bad(read(path)) == [(5, "is no order of wc/v3, and no webhook of one")]
    assert [found["id"] for found in orders(read(path, skip=2))] == [3]


def test_a_damaged_archive_is_told_and_what_could_be_read_is_kept(tmp_path):
    lines = b"".join(json.dumps(order(id=number)).encode() + b"\n" for number in range(1, 500))
    found = read(written(tmp_path / "o.ndjson.gz", gzip.compress(lines)[:-20]))
    assert len(orders(found)) > 100
    assert "damaged archive" in bad(found)[-1][1]


@pytest.mark.parametrize(
    ("encoding", "told"), [("utf-8", ""), ("utf-8-sig", ""), ("windows-1252", "windows-1252"), ("utf-16", "utf-16")]
)
@pytest.mark.parametrize(("name", "pack"), [("o.csv", bytes), ("o.csv.xz", lzma.compress)])
def test_a_spreadsheet_is_read_in_the_encoding_that_it_is_in(tmp_path, encoding, told, name, pack):
    found = read(written(tmp_path / name, pack(ROWS.replace("city", "billing_city").encode(encoding))), encoding=told)
    assert [(o["id"], o["total"], o["billing"]["city"]) for o in orders(found)] == [(1, "12.50", "Köln"), (2, "5", "")]


@pytest.mark.parametrize(("encoding", "line"), [("windows-1252", 2), ("utf-16", 1)])
def test_a_spreadsheet_in_another_encoding_says_in_which_line_and_what_helps(tmp_path, encoding, line):
    path = written(tmp_path / "o.csv", ROWS.encode(encoding))
    written(tmp_path / "umlaut.csv", ROWS.replace("city", "Größe").encode("windows-1252"))
    with pytest.raises(FileError, match=r"Line 1 of umlaut\.csv is not UTF-8: .*--encoding windows-1252"):
        read(tmp_path / "umlaut.csv")
    hint = rf"Line {line} of o\.csv is not UTF-8: save it as CSV UTF-8, or say .*--encoding {encoding}"
    with pytest.raises(FileError, match=hint):
        read(path)


def test_an_encoding_that_does_not_fit_or_does_not_exist_is_told(tmp_path):
    with pytest.raises(FileError, match=r"o\.csv is not written in ascii"):
        read(written(tmp_path / "o.csv", ROWS), encoding="ascii")
    with pytest.raises(FileError, match="There is no encoding klingon"):
        read(tmp_path / "o.csv", encoding="klingon")


def test_excel_s_line_about_the_separator_is_no_header(tmp_path):
    assert len(orders(read(written(tmp_path / "o.csv", "sep=;\r\n" + ROWS.replace("\n", "\r\n"))))) == 2


def test_cells_may_be_quoted_and_hold_separators_quotation_marks_and_lines(tmp_path):
    head = "id,status,currency,total,created,billing_address_1\n"
    row = '1,completed,EUR,1,2026-05-28,"Ring ""7"",\nstairs 3"\n2,completed,EUR,1,2026-05-28,x\n'
    found = read(written(tmp_path / "o.csv", head + row))
    assert [o["billing"]["address_1"] for o in orders(found)] == ['Ring "7",\nstairs 3', "x"]
    assert [one.number for one in found] == [2, 4]


def test_a_bad_row_is_told_by_its_line_and_the_others_are_taken(tmp_path):
    rows = (
        "1;completed;EUR;twelve;2026-05-28;;\n"
        "2;completed;EUR;1\n"
        "3;completed;EUR;1;2026-05-28;;;;more\n"
        '4;"comp"leted;EUR;1;2026-05-28;;\n'
        ";;;;;;\n"
        "5;completed;EUR;1;2026-05-28;;;;\n"
    )
    found = read(written(tmp_path / "o.csv", HEADER + rows))
    assert [o["id"] for o in orders(found)] == [5]
    assert bad(found) == [
        (2, "total must be a number like 249.00, without currency and thousands separators"),
        (3, "has 4 cells, and the header 7"),
        (4, "has 9 cells, and the header 7"),
        (5, "has a quotation mark inside a cell: it must be doubled"),
    ]


def test_a_quotation_mark_that_is_never_closed_refuses_the_file_by_its_line(tmp_path):
    for end in ("", "x" * 200_000):
        path = written(tmp_path / "o.csv", ROWS + '3;completed;EUR;1;2026-05-28;"jane;\n4;completed;EUR\n' + end)
        with pytest.raises(FileError, match="A quotation mark in line 4 is never closed"):
            read(path)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "The first line names no column that is known"),
        ("1;completed;EUR;12;2026-05-28\n", "it must name at least id, status, currency, total, created"),
        ("status;currency;shoe\n", "The column id is missing. Not known are: shoe"),
        (ROWS.replace("status", "staus", 1), "There is no column staus: is status meant"),
    ],
)
def test_a_file_without_its_header_is_refused(tmp_path, text, told):
    with pytest.raises(FileError, match=told):
        read(written(tmp_path / "o.csv", text))


def test_a_file_is_a_spreadsheet_by_its_name():
    assert [is_csv(Path(name)) for name in ("a.csv", "A.CSV.gz", "a.2024.tsv.xz", "a.txt")] == [True] * 4
    assert [is_csv(Path(name)) for name in ("a.ndjson", "a.json.gz", "a", "a.csv.ndjson")] == [False] * 4
