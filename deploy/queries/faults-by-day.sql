-- How many faults there are on each day, by kind and cause: what has changed, and since when.
with last_word as (
  select *, row_number() over (partition by host, id order by revision desc) as newest from findings
)
select date, kind, cause, count(*) as faults, count(distinct host) as nodes
from last_word
where newest = 1 and severity = 'fault'
group by date, kind, cause
order by date, faults desc, kind, cause
