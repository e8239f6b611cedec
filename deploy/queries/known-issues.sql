-- Which known issues show, on how many nodes. `cgtrace explain KIND` says what to do about each.
with last_word as (
  select *, row_number() over (partition by host, id order by revision desc) as newest from findings
)
select known_issues, kind, count(*) as findings, count(distinct host) as nodes, min(time) as since, max(time) as latest
from last_word
where newest = 1 and known_issues is not null
group by known_issues, kind
order by nodes desc, findings desc, known_issues, kind
