-- Of which nodes something is missing: what was lost, and how much there is besides.
select
  host, sum(case when type = 'lost' then lost else 0 end) as lost, count(*) as inputs, min(time) as since,
  max(time) as latest
from inputs
group by host
having sum(case when type = 'lost' then lost else 0 end) > 0
order by lost desc, host
