from dataclasses import replace

from orchestrator.data import CATALOG
from orchestrator.data.listing import list_datasets
from orchestrator.data.prepare import prepare


def test_the_list_says_what_there_is_and_what_is_prepared(own, tmp_path):
    mine = own("a.csv", "x,label\n" + "1,a\n2,b\n" * 10, target="label", licence="my own")
    before = {row.name: row for row in list_datasets(tmp_path, [mine])}
    assert list(before) == [*CATALOG, "mine"]
    assert not any(row.prepared for row in before.values())
    prepare(CATALOG["digits"], tmp_path)
    prepare(mine, tmp_path)
    rows = {row.name: row for row in list_datasets(tmp_path, [mine])}
    assert [name for name, row in rows.items() if row.prepared] == ["digits", "mine"]
    assert (rows["digits"].shape, rows["digits"].rows, rows["digits"].source) == ((1, 8, 8), 1797, "scikit-learn")
    assert (rows["mine"].source, rows["mine"].licence) == (str(tmp_path / "a.csv"), "my own")
    assert rows["fashion_mnist"].source == "raw.githubusercontent.com" and rows["fashion_mnist"].rows is None


def test_what_was_prepared_in_another_way_does_not_count(own, tmp_path):
    mine = own("a.csv", "x,label\n" + "1,a\n2,b\n" * 10, target="label")
    prepare(mine, tmp_path)
    assert not list_datasets(tmp_path, [replace(mine, validation=0.3)])[-1].prepared
