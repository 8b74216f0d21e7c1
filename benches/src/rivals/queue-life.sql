-- One trial's life: made, leased, ten reports that are each judged by successive halving's rule at rungs 1, 3 and 9, ended.
-- Only a rung asks for the cutoff, as ASHA does, and no further than a hundred better ones; no trial is stopped. Each statement
-- is a transaction of its own and durable before the next.
\set x random(0, 1000000)
insert into trials (params) values (jsonb_build_object('x', :x / 1000000.0));
\set id 0
-- None may be left to take where others were quicker: then the life that was made here is another's.
update trials set state = 1, lease = lease + 1
    where id = (select id from trials where state = 0 order by id for update skip locked limit 1) returning id \aset
\if :id > 0
with report as (insert into reports values (:id, 1, :x / 1000000.0 + 1.0000) returning value)
    select count(*) as better from (select 1 from reports r, report
        where r.step = 1 and r.value < report.value limit 100) better;
insert into reports values (:id, 2, :x / 1000000.0 + 0.5000);
with report as (insert into reports values (:id, 3, :x / 1000000.0 + 0.3333) returning value)
    select count(*) as better from (select 1 from reports r, report
        where r.step = 3 and r.value < report.value limit 100) better;
insert into reports values (:id, 4, :x / 1000000.0 + 0.2500);
insert into reports values (:id, 5, :x / 1000000.0 + 0.2000);
insert into reports values (:id, 6, :x / 1000000.0 + 0.1667);
insert into reports values (:id, 7, :x / 1000000.0 + 0.1429);
insert into reports values (:id, 8, :x / 1000000.0 + 0.1250);
with report as (insert into reports values (:id, 9, :x / 1000000.0 + 0.1111) returning value)
    select count(*) as better from (select 1 from reports r, report
        where r.step = 9 and r.value < report.value limit 100) better;
insert into reports values (:id, 10, :x / 1000000.0 + 0.1000);
update trials set state = 2, value = :x / 1000000.0 + 0.1 where id = :id;
\endif
