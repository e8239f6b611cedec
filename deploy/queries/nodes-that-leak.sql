-- Which nodes leak: cgroups that are left behind by what went wrong, the worst nodes first.
with last_word as (
  select *, row_number() over (partition by host, id order by revision desc) as newest from findings
)
select
  host, count(distinct path) as cgroups_left, min(time) as since, max(time) as latest,
  count(*) filter (where severity = 'fault') as faults
from last_word
where newest = 1 and severity <> 'benign'
  and kind in ('leaked-cgroup', 'partial-teardown', 'stale-cgroup', 'busy-teardown', 'denied-teardown', 'lingering-cgroup')
group by host
order by cgroups_left desc, host
