"""Runs the ready-made queries over the tables of a fleet, in one engine, as docs/fleet.md says.

fleet.py ENGINE TABLES INVENTORY QUERIES: ENGINE is duckdb or spark. Prints what each query gives, as JSON.
"""
import datetime, decimal, json, os, pathlib, sys, time

engine, tables, inventory, queries = sys.argv[1:5]
os.environ["TZ"] = "UTC"
time.tzset()
TABLES = ["inputs", "lives", "findings"]


def duck():
    import duckdb

    connection = duckdb.connect()
    connection.execute("set timezone = 'UTC'")
    for name in TABLES:
        connection.execute(
            f"create view {name} as select * from"
            f" read_parquet('{tables}/{name}/**/*.parquet', hive_partitioning = true)"
        )
    connection.execute(f"create view inventory as select * from read_csv('{inventory}', header = true, all_varchar = true)")

    def ask(text):
        found = connection.sql(text)
        # Times with a zone need another package in Python; here the zone is UTC.
        cast = lambda name, kind: f'cast("{name}" as timestamp)' if "TIME ZONE" in str(kind) else f'"{name}"'
        rows = found.project(", ".join(cast(*column) for column in zip(found.columns, found.types))).fetchall()
        return found.columns, rows

    return ask


def spark():
    from pyspark.sql import SparkSession

    session = (
        SparkSession.builder.master("local[2]").config("spark.sql.session.timeZone", "UTC")
        .config("spark.ui.enabled", "false").config("spark.ui.showConsoleProgress", "false").config("spark.driver.memory", "2g")
        .config("spark.driver.bindAddress", "127.0.0.1").config("spark.driver.host", "127.0.0.1").getOrCreate()
    )
    session.sparkContext.setLogLevel("ERROR")
    for name in TABLES:
        session.read.parquet(f"{tables}/{name}").createOrReplaceTempView(name)
    session.read.csv(inventory, header=True).createOrReplaceTempView("inventory")

    def ask(text):
        found = session.sql(text)
        return found.columns, [tuple(row) for row in found.collect()]

    return ask


def plain(value):
    """The same for both engines: times in UTC, numbers as they are, floats to the nanosecond."""
    if isinstance(value, datetime.datetime):
        return value.replace(tzinfo=None).isoformat(timespec="microseconds")
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, (float, decimal.Decimal)):
        return round(float(value), 9)
    return value


ask = {"duckdb": duck, "spark": spark}[engine]()
answers = {}
for path in sorted(pathlib.Path(queries).glob("*.sql")):
    begun = time.monotonic()
    columns, rows = ask(path.read_text())
    answers[path.stem] = {"columns": columns, "rows": [[plain(value) for value in row] for row in rows]}
    print(f"{engine} {path.stem}: {len(rows)} rows, {time.monotonic() - begun:.2f} s", file=sys.stderr)
print(json.dumps(answers))
