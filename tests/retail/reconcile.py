#!/usr/bin/env python3
"""Computes the outcome table of a retail invoice file, from the file alone.

It shares no code with the store on purpose: `pangaea place-invoices` prints the same table after sending the same
file through the HTTP API, and the two must agree to the penny. Only `csv` and `Decimal` are used.

    python3 tests/retail/reconcile.py tests/retail/sample.csv
    python3 tests/retail/reconcile.py tests/retail/sample.csv --json

Per line, the first rule that fits decides:

1. Invoice `C...` (a cancellation): a code that is not five digits and letters is rejected (not a product); a price
   with a fraction of a penny is rejected (sub-penny price); no customer is rejected (no customer); otherwise the line
   takes its units from the newest earlier accepted sale lines of the same customer, code (case folded) and price, as
   many lines as it needs; when they have not enough units left, it takes none (no earlier sale).
2. Invoice `A...` or a negative price is rejected (not a sale); then a code that is not five digits and letters
   (not a product).
3. A zero price or a quantity that is not positive is a stock adjustment; then a price with a fraction of a penny is
   rejected (sub-penny price); everything else is a sale.
"""

import argparse
import csv
import json
import re
import sys
from decimal import Context, Decimal, Inexact, setcontext

COLUMNS = ["InvoiceNo", "StockCode", "Quantity", "UnitPrice", "CustomerID"]

OUTCOMES = [
    "sales accepted",
    "sales rejected: not a product",
    "sales rejected: not a sale",
    "sales rejected: sub-penny price",
    "refunds accepted",
    "refunds rejected: no earlier sale",
    "refunds rejected: not a product",
    "refunds rejected: no customer",
    "refunds rejected: sub-penny price",
    "adjustments",
]

PRODUCT_CODE = re.compile(r"[0-9]{5}[A-Za-z]*")
QUANTITY = re.compile(r"-?[0-9]{1,9}")
PRICE = re.compile(r"-?[0-9]{1,9}(\.[0-9]*)?")
PENNY = Decimal("0.01")
# A price may carry at most this many digits after the point; trailing zeros do not count.
PRICE_DECIMALS_MAX = 8


class Unreadable(Exception):
    """A row that cannot be understood; it is reported and the rest goes on."""


def parse_price(text):
    if not PRICE.fullmatch(text):
        raise Unreadable(f"UnitPrice {text!r} is not a decimal number")
    if "." in text and len(text.split(".")[1].rstrip("0")) > PRICE_DECIMALS_MAX:
        raise Unreadable(f"UnitPrice {text!r} has more than {PRICE_DECIMALS_MAX} decimals")
    return Decimal(text)


def parse_quantity(text):
    if not QUANTITY.fullmatch(text):
        raise Unreadable(f"Quantity {text!r} is not a whole number")
    return int(text)


def read(path):
    """Yields (line, fields or None, reason or None) for each record, in file order."""
    with open(path, encoding="utf-8-sig", errors="replace", newline="") as file:
        reader = csv.reader(file)
        header = [name.strip() for name in next(reader, [])]
        missing = [name for name in COLUMNS if name not in header]
        if missing:
            sys.exit(f"{path}: the header lacks {', '.join(missing)}; it must name {', '.join(COLUMNS)}")
        places = {name: header.index(name) for name in COLUMNS}
        end_of_previous = reader.line_num
        for record in reader:
            line = end_of_previous + 1
            end_of_previous = reader.line_num
            if not record:
                continue
            try:
                if len(record) != len(header):
                    raise Unreadable(f"{len(record)} fields where the header has {len(header)}")
                row = {name: record[place].strip() for name, place in places.items()}
                if not row["InvoiceNo"]:
                    raise Unreadable("InvoiceNo is empty")
                row["Quantity"] = parse_quantity(row["Quantity"])
                row["UnitPrice"] = parse_price(row["UnitPrice"])
            except Unreadable as reason:
                yield line, None, str(reason)
            else:
                yield line, row, None


class Sales:
    """The accepted sale lines that still have units a refund can take."""

    def __init__(self):
        self._open = {}

    @staticmethod
    def _key(row):
        return row["CustomerID"], row["StockCode"].upper(), row["UnitPrice"]

    def add(self, row):
        self._open.setdefault(self._key(row), []).append(row["Quantity"])

    def take(self, row):
        """Takes the units of a cancellation, newest line first; takes nothing and answers False if too few are left."""
        wanted = -row["Quantity"]
        units_left = self._open.get(self._key(row), [])
        if wanted <= 0 or sum(units_left) < wanted:
            return False
        while wanted:
            taken = min(wanted, units_left[-1])
            wanted -= taken
            units_left[-1] -= taken
            if not units_left[-1]:
                units_left.pop()
        return True


def outcome(row, sales):
    is_product = PRODUCT_CODE.fullmatch(row["StockCode"]) is not None
    is_sub_penny = row["UnitPrice"] % PENNY != 0
    if row["InvoiceNo"].startswith("C"):
        if not is_product:
            return "refunds rejected: not a product"
        if is_sub_penny:
            return "refunds rejected: sub-penny price"
        if not row["CustomerID"]:
            return "refunds rejected: no customer"
        return "refunds accepted" if sales.take(row) else "refunds rejected: no earlier sale"
    if row["InvoiceNo"].startswith("A") or row["UnitPrice"] < 0:
        return "sales rejected: not a sale"
    if not is_product:
        return "sales rejected: not a product"
    if row["UnitPrice"] == 0 or row["Quantity"] <= 0:
        return "adjustments"
    if is_sub_penny:
        return "sales rejected: sub-penny price"
    sales.add(row)
    return "sales accepted"


def reconcile(path):
    """Answers {outcome: [lines, sum]} and the unreadable [(line, reason)]; the control total is in `all`."""
    table = {name: [0, Decimal(0)] for name in OUTCOMES}
    table["all"] = [0, Decimal(0)]
    unreadable = []
    sales = Sales()
    for line, row, reason in read(path):
        if row is None:
            unreadable.append((line, reason))
            continue
        amount = row["Quantity"] * row["UnitPrice"]
        for name in (outcome(row, sales), "all"):
            table[name][0] += 1
            table[name][1] += amount
    parts = [table[name] for name in OUTCOMES]
    if sum(part[0] for part in parts) != table["all"][0] or sum(part[1] for part in parts) != table["all"][1]:
        raise AssertionError("the outcomes do not add up to the control total")
    return table, unreadable


def exact(amount):
    """The sum with two decimals, or with as many more as it really has."""
    text = f"{amount:f}"
    whole, _, decimals = text.partition(".")
    text = f"{whole}.{decimals.rstrip('0').ljust(2, '0')}"
    return text.lstrip("-") if not amount else text


def in_pounds(amount):
    text = exact(abs(amount))
    whole, decimals = text.split(".")
    return f"{'-' if amount < 0 else ''}£{int(whole):,}.{decimals}"


def main():
    # Decimal arithmetic that would have to round is an error here, never a slightly different sum.
    setcontext(Context(prec=60, traps=[Inexact]))
    parser = argparse.ArgumentParser(description="Outcome table of a retail invoice file: lines and sums per outcome.")
    parser.add_argument("file", help="CSV file with the columns " + ", ".join(COLUMNS))
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    arguments = parser.parse_args()
    table, unreadable = reconcile(arguments.file)
    if arguments.json:
        outcomes = [{"outcome": name, "lines": table[name][0], "sum": exact(table[name][1])} for name in table]
        json.dump({"outcomes": outcomes, "unreadable_lines": [line for line, _ in unreadable]}, sys.stdout, indent=2)
        print()
        return
    for name, (lines, amount) in table.items():
        print(f"{name:<36} {lines:>9,} {in_pounds(amount):>18}")
    for line, reason in unreadable:
        print(f"line {line}: {reason}", file=sys.stderr)


if __name__ == "__main__":
    main()
