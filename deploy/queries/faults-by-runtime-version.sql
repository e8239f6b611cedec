-- Which version of a runtime has the fault: how many nodes with that version have it, and how often.
-- `inventory` is a table of yours, (host, runtime, version): cgtrace does not read versions.
with last_word as (
  select *, row_number() over (partition by host, id order by revision desc) as newest from findings
),
faults as (
  select host, runtime, kind, cause, count(*) as faults
  from last_word
  where newest = 1 and severity = 'fault' and runtime is not null
  group by host, runtime, kind, cause
),
nodes as (
  select runtime, version, count(*) as nodes from inventory group by runtime, version
)
select
  inventory.runtime, inventory.version, faults.kind, faults.cause,
  count(*) as nodes_with_it, max(nodes.nodes) as nodes_with_the_version, sum(faults.faults) as faults
from faults
join inventory on inventory.host = faults.host and inventory.runtime = faults.runtime
join nodes on nodes.runtime = inventory.runtime and nodes.version = inventory.version
group by inventory.runtime, inventory.version, faults.kind, faults.cause
order by faults desc, inventory.runtime, inventory.version, faults.kind, faults.cause
