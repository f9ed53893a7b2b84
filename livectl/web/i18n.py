# ruff: noqa: RUF001 - Chinese has its own punctuation
"""Translates the page: every sentence in English and Simplified Chinese, and how times and numbers are written."""

from __future__ import annotations

from functools import cache

LANGUAGES = ("en", "zh-Hans")

# key -> (English, Simplified Chinese); {names} are filled in
SENTENCES: dict[str, tuple[str, str]] = {
    # platforms, as each spells its name; any other keeps its name of the follow list
    "platform_name_bilibili": ("Bilibili", "哔哩哔哩"),
    "platform_name_chzzk": ("CHZZK", "CHZZK"),
    "platform_name_demo": ("Demo", "演示"),
    "platform_name_douyin": ("Douyin", "抖音"),
    "platform_name_douyu": ("Douyu", "斗鱼"),
    "platform_name_huya": ("Huya", "虎牙"),
    "platform_name_kick": ("Kick", "Kick"),
    "platform_name_soop": ("SOOP", "SOOP"),
    "platform_name_tiktok": ("TikTok", "TikTok"),
    "platform_name_twitch": ("Twitch", "Twitch"),
    "platform_name_youtube": ("YouTube", "YouTube"),
    # every page
    "live": ("Live", "直播"),
    "jobs": ("Jobs", "任务"),
    "skip": ("Skip to the content", "跳到正文"),
    "pages": ("Pages", "页面"),
    "title": ("({count}) Live", "（{count}）正在直播"),
    "title_unknown": ("Nobody is known to be live", "无法得知是否有人开播"),
    "title_none": ("Nobody is live", "无人直播"),
    "lost": ("No connection to this page's server. Trying again …", "与服务器的连接已断开，正在重试……"),
    "since_time": ("Times are in {zone}.", "时间按 {zone} 时区显示。"),
    # the list of streamers
    "summary": ("{live} live of {all} followed", "关注 {all} 位，{live} 位正在直播"),
    "live_now": ("Live now", "正在直播"),
    "the_others": ("The others", "其他主播"),
    "nobody": ("Nobody is live right now.", "现在没有人在直播。"),
    "nobody_known": (
        "Nobody is known to be live: {count} of {all} have not been read so far.",
        "无法得知是否有人开播：{all} 位中有 {count} 位尚未读到。",
    ),
    "nobody_fits": ("Nobody fits this filter.", "没有符合筛选条件的主播。"),
    "show_all": ("Show everybody", "显示全部"),
    "filter": ("Filter", "筛选"),
    "platform": ("Platform", "平台"),
    "tag": ("Tag", "标签"),
    "search": ("Search", "搜索"),
    "search_hint": ("Name, title or category", "名字、标题或分区"),
    "any_platform": ("All platforms", "所有平台"),
    "any_tag": ("All tags", "所有标签"),
    "apply": ("Apply", "应用"),
    "viewers": ("{count} viewers", "{count} 人观看"),
    "live_for": ("live for {span}", "已播 {span}"),
    "last_live": ("last live {ago}", "上次直播 {ago}"),
    "never_live": ("not seen live yet", "尚未见过开播"),
    "history_of": ("{name}: history", "{name}：直播记录"),
    "history": ("History", "直播记录"),
    # ... when nobody is followed
    "empty": ("You follow nobody yet", "还没有关注任何主播"),
    "empty_1": ("Follow somebody by the address of their page:", "用主播页面的地址添加关注："),
    "empty_2": ("Then start looking, if that is not running already:", "然后启动查询（若尚未运行）："),
    "empty_3": ("They will appear here by themselves.", "之后主播会自动出现在这里。"),
    # states
    "state_live": ("live", "直播中"),
    "state_offline": ("offline", "未开播"),
    "state_replay": ("replay", "录播中"),
    "state_upcoming": ("upcoming", "等待开播"),
    "state_restricted": ("restricted", "受限"),
    "state_not_found": ("not found", "查无此人"),
    "state_banned": ("banned", "已被封禁"),
    "state_blocked": ("blocked", "被平台拦截"),
    "state_rate_limited": ("rate limited", "请求过多"),
    "state_auth": ("no valid key", "没有有效的密钥"),
    "state_parse_error": ("not understood", "无法理解返回内容"),
    "state_network": ("not reached", "无法连接"),
    "state_unknown": ("unknown", "没有明确答复"),
    "not_asked": ("not asked yet", "尚未查询"),
    # trouble
    "trouble": ("{what} for {span}; last read {seen}", "{what}，已 {span}；上次读到：{seen}"),
    "trouble_never": ("{what} for {span}; never read so far", "{what}，已 {span}；至今未读到"),
    "list_problem": (
        "The follow list cannot be read, the last one stays in force: {why}",
        "关注列表无法读取，沿用上一份：{why}",
    ),
    "platform_auth": (
        "{platform} has refused its keys for {span}. Nobody is asked about there until they change.",
        "{platform} 拒绝所用密钥已 {span}；更换之前不再查询。",
    ),
    "platform_open": (
        "{platform} blocks us. It is asked again {until}; until then the last state stands.",
        "{platform} 拦截了我们的查询，{until}会再试；在此之前保留最后的状态。",
    ),
    "platform_wait": (
        "{platform} wants to be left alone. It is asked again {until}.",
        "{platform} 要求暂停查询，{until}会再试。",
    ),
    "platform_unreached": (
        "{platform} has not been reached for {span}. The last state stands.",
        "{platform} 已 {span} 无法连接；保留最后的状态。",
    ),
    "platform_parser": (
        "Most answers of {platform} have had a shape that livectl does not know for {span}. The last state stands.",
        "{platform} 的多数返回内容无法识别，已 {span}；保留最后的状态。",
    ),
    "platform_gone": (
        "Everybody on {platform} seemed to leave at once, {span} ago. It is not believed until somebody is seen live.",
        "{span}前，{platform} 上的所有人似乎同时下播；在看到有人开播之前不予采信。",
    ),
    "failing": (
        "Alerts to {name} have failed for {span}; see the jobs page.",
        "发往 {name} 的提醒已失败 {span}；详见任务页面。",
    ),
    # a streamer
    "back": ("Everybody", "返回全部"),
    "open_page": ("Open on {platform}", "在 {platform} 打开"),
    "no_longer": ("No longer followed.", "已不再关注。"),
    "sessions": ("Sessions", "直播场次"),
    "more_sessions": ("and {count} older ones", "另有 {count} 场更早的直播"),
    "no_sessions": ("No session seen yet.", "尚未见过任何直播。"),
    "started": ("Started", "开始"),
    "length": ("Length", "时长"),
    "what": ("Title", "标题"),
    "category": ("Category", "分区"),
    "still_on": ("{span}, still live", "{span}，仍在直播"),
    "usual": ("When they stream", "常见直播时间"),
    "usual_text": ("Most often live: {hours}.", "最常直播：{hours}。"),
    "usual_none": ("Nothing in the last weeks.", "最近几周没有直播。"),
    "heat_alt": (
        "Share of the last {weeks} weeks in which they were live, by weekday and hour",
        "最近 {weeks} 周内各星期与时刻的开播比例",
    ),
    "cell": ("{day} {hour}:00, live in {percent} % of weeks", "{day} {hour}:00，{percent}% 的周在直播"),
    "scale_less": ("never", "从不"),
    "scale_more": ("every week", "每周"),
    "days": ("Mon Tue Wed Thu Fri Sat Sun", "周一 周二 周三 周四 周五 周六 周日"),
    "unknown_streamer": ("Nobody of that name is known here.", "这里没有这位主播。"),
    # jobs
    "workers": ("Workers", "工作进程"),
    "queues": ("Queues", "队列"),
    "schedule": ("Schedule", "计划"),
    "recent": ("Recent jobs", "最近任务"),
    "alerts": ("Alerts", "提醒"),
    "target": ("Target", "目标"),
    "waiting": ("Waiting", "待发"),
    "last_told": ("Last told", "上次发送"),
    "never": ("never", "从未"),
    "well": ("well", "正常"),
    "again": ("failing; again {when}", "失败；{when}重试"),
    "dead": ("Dead letters", "死信"),
    "not_known": ("Not known here: {why}", "此处无从得知：{why}"),
    "no_workers": ("No worker answers.", "没有工作进程应答。"),
    "silent": ("{count} heard the question and gave no answer.", "另有 {count} 个收到询问但未应答。"),
    "no_queues": ("No queue has been used yet.", "尚未使用任何队列。"),
    "no_schedule": ("No beat runs, so nothing is scheduled.", "没有 beat 在运行，因此没有计划。"),
    "no_jobs": ("No job has ended lately.", "最近没有任务结束。"),
    "more_jobs": ("There are older ones: livectl results", "还有更早的任务：livectl results"),
    "more_dead": ("and {count} more: livectl dead list", "另有 {count} 条：livectl dead list"),
    "no_dead": ("No dead letters.", "没有死信。"),
    "beats": ("{count} beat running; it looked in {ago}.", "{count} 个 beat 在运行；最近一次报到：{ago}。"),
    "name": ("Name", "名称"),
    "pool": ("Pool", "池"),
    "active": ("Running", "运行中"),
    "reserved": ("At hand", "待运行"),
    "done": ("Done", "已完成"),
    "memory": ("Memory", "内存"),
    "queue": ("Queue", "队列"),
    "ready": ("Ready", "就绪"),
    "held": ("With workers", "处理中"),
    "eta": ("For later", "定时"),
    "oldest": ("Oldest", "最早"),
    "readers": ("Readers", "消费者"),
    "task": ("Task", "任务"),
    "when": ("When", "时间"),
    "last": ("Last", "上次"),
    "next": ("Next", "下次"),
    "paused": ("paused", "已暂停"),
    "off": ("off", "已停用"),
    "state": ("State", "状态"),
    "ended": ("Ended", "结束"),
    "result": ("Result", "结果"),
    "kind": ("Kind", "类别"),
    "reason": ("Reason", "原因"),
    "set_aside": ("Set aside", "搁置时间"),
    "kind_message": ("message", "消息"),
    "kind_job": ("job", "任务"),
    "kind_alert": ("alert", "提醒"),
    "job_succeeded": ("succeeded", "成功"),
    "job_failed": ("failed", "失败"),
    "job_running": ("running", "运行中"),
    "job_received": ("received", "已接收"),
    "job_eta": ("waiting for its time", "等待定时"),
    "job_queued": ("queued", "排队中"),
    "job_redelivery": ("waiting for redelivery", "等待重投"),
    "job_retrying": ("retrying", "重试中"),
    "job_revoked": ("revoked", "已撤销"),
    "job_unknown": ("unknown", "未知"),
    # trouble of the page itself
    "away": ("The store is away", "存储暂时不可用"),
    "away_text": (
        "It cannot be read right now. This page comes back by itself.",
        "此刻无法读取；恢复后本页会自动更新。",
    ),
    "enter": ("Enter", "进入"),
    "token": ("Token", "令牌"),
    "token_text": ("This page wants its token.", "访问本页需要令牌。"),
    "token_wrong": ("That is not the token.", "令牌不正确。"),
    # errors of HTTP, and what to do about each
    "error_400": ("This request cannot be read", "无法读懂这个请求"),
    "error_400_text": ("Check its address and headers.", "请检查地址和请求头。"),
    "error_401": ("This page wants its token", "访问本页需要令牌"),
    "error_401_text": ("Send it as Authorization: Bearer …", "以 Authorization: Bearer … 发送令牌。"),
    "error_404": ("There is no such page", "没有这个页面"),
    "error_404_text": ("The address may be mistyped.", "地址可能有误。"),
    "error_405": ("This address answers no such request", "此地址不接受这种请求"),
    "error_405_text": ("Its pages are only for reading.", "这里的页面只供阅读。"),
    "error_411": ("The request does not say how long it is", "请求没有说明长度"),
    "error_411_text": ("Send it with a Content-Length.", "请带上 Content-Length 发送。"),
    "error_413": ("The request is too long", "请求太长"),
    "error_413_text": ("64 KB are taken at most.", "最多接受 64 KB。"),
    "error_421": ("This page is not served by that name", "本页不以这个名字提供"),
    "error_421_text": (
        "It is served to this machine only: open it as localhost or 127.0.0.1.",
        "本页只供本机访问：请用 localhost 或 127.0.0.1 打开。",
    ),
    "error_429": ("Too many wrong tokens came from your address.", "来自你的地址的错误令牌过多。"),
    "error_429_text": ("Try again in {seconds} s.", "请在 {seconds} 秒后重试。"),
    "error_500": ("Something broke here", "这里出错了"),
    "error_500_text": (
        "It is this page's mistake; its log says more.",
        "是本页出的错，详情见日志。",
    ),
    "error_other": ("This did not work", "请求没有成功"),
    "error_other_text": ("Go back and try again.", "请返回后重试。"),
    "unknown_streamer_text": ("Look whether the name is spelt right.", "请检查名字是否写对。"),
    # time
    "now": ("just now", "刚刚"),
    "soon": ("any moment", "随时"),
    "ago": ("{span} ago", "{span}前"),
    "ahead": ("in {span}", "{span}后"),
    "seconds": ("{n} s", "{n} 秒"),
    "minutes": ("{n} min", "{n} 分钟"),
    "hours": ("{n} h", "{n} 小时"),
    "hours_minutes": ("{n} h {m} min", "{n} 小时 {m} 分"),
    "many_days": ("{n} days", "{n} 天"),
    "months": ("{n} months", "{n} 个月"),
    "thousand": ("{n}K", "{n}K"),
    "million": ("{n}M", "{n}M"),
    "myriad": ("{n}", "{n}万"),
}


MINUTE, HOUR, DAY = 60, 3600, 86_400  # seconds
MONTH = 30 * DAY
HALF_A_SECOND = 0.5
MIN_SECONDS_IN_DAYS = 2 * DAY  # below, hours say more than days
MIN_SECONDS_IN_MONTHS = 3 * MONTH
THOUSAND, MYRIAD, MILLION = 1_000, 10_000, 1_000_000
MIN_WITHOUT_DECIMAL = 10  # of a unit: a whole number from here on has no decimal


class Translations:
    """The sentences of one language. Called with a key and values, it gives the sentence."""

    def __init__(self, language: str) -> None:
        self.language = language
        self._column = LANGUAGES.index(language)

    def __call__(self, key: str, **values: object) -> str:
        sentence = SENTENCES[key][self._column]
        return sentence.format(**values) if values else sentence

    def span(self, seconds: float) -> str:
        """A duration in one or two units."""
        minutes = int(seconds // MINUTE)
        if seconds < HOUR:
            return self("minutes", n=minutes)
        if seconds < DAY:
            hours, rest = divmod(minutes, MINUTE)
            return self("hours_minutes", n=hours, m=rest) if rest else self("hours", n=hours)
        if seconds < MIN_SECONDS_IN_DAYS:
            return self("hours", n=int(seconds // HOUR))
        if seconds < MIN_SECONDS_IN_MONTHS:
            return self("many_days", n=int(seconds // DAY))
        return self("months", n=int(seconds // MONTH))

    def ago(self, seconds: float) -> str:
        """How long ago, in whole hours after the first: nobody needs the minutes of yesterday."""
        if seconds < MINUTE:
            return self("now")
        rough = seconds if seconds < HOUR else seconds // HOUR * HOUR
        return self("ago", span=self.span(rough))

    def ahead(self, seconds: float) -> str:
        """How far ahead."""
        if seconds < HALF_A_SECOND:  # what rounds to nought
            return self("soon")
        return self("ahead", span=self.seconds(seconds) if seconds < MINUTE else self.span(seconds))

    def seconds(self, seconds: float) -> str:
        """A duration where seconds matter."""
        return self("seconds", n=round(seconds)) if seconds < MINUTE else self.span(seconds)

    def count(self, number: int) -> str:
        """A number of viewers, rounded as people of this language round."""
        if self.language == "zh-Hans":
            return self("myriad", n=_format_short(number / MYRIAD)) if number >= MYRIAD else str(number)
        if number >= MILLION:
            return self("million", n=_format_short(number / MILLION))
        return self("thousand", n=_format_short(number / THOUSAND)) if number >= MYRIAD else f"{number:,}"

    def platform(self, name: str) -> str:
        return self(key) if (key := f"platform_name_{name}") in SENTENCES else name

    def days(self) -> list[str]:
        """The weekdays, from Monday on."""
        return self("days").split()


def translations_for(accepted: str | None) -> Translations:
    """The language that fits what the browser accepts best; English where none does."""
    return _translations("zh-Hans" if accepted and accepted.lower().startswith("zh") else "en")


@cache
def _translations(language: str) -> Translations:
    return Translations(language)


def _format_short(number: float) -> str:
    return (
        f"{number:.0f}"
        if number >= MIN_WITHOUT_DECIMAL and number == int(number)
        else f"{number:.1f}".removesuffix(".0")
    )
