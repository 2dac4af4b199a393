# Plots figures.csv of `bench/api/run`: folder='…' says where it is.
set datafile separator ','
set terminal svg size 900,600 enhanced font 'sans-serif,13' background rgb 'white'
set key below horizontal maxcols 3 Left reverse spacing 1.3 samplen 2
set linetype 1 lc rgb '#1b6ca8'
set linetype 2 lc rgb '#c0392b'
set linetype 3 lc rgb '#2e8b57'
set linetype 4 lc rgb '#8e44ad'
set linetype 5 lc rgb '#d35400'
set linetype 6 lc rgb '#16a3a3'
set linetype 7 lc rgb '#7f6000'
set linetype 8 lc rgb '#333333'
set linetype cycle 8
set grid ytics xtics lc rgb '#dddddd' lt 1
set border 3 lc rgb '#555555'
set tics nomirror
set logscale x
set xlabel 'connections in the store'
set xtics ('1,000' 1e3, '3,000' 3e3, '10,000' 1e4, '30,000' 3e4, '100,000' 1e5)
set xrange [900:110000]
data = folder . '/figures.csv'

set output folder . '/latency.svg'
set title 'One request at a time: median'
set ylabel 'ms'
set logscale y
set yrange [0.1:50]
set ytics (0.1, 0.3, 1, 3, 5, 10, 25, 50)
lists = "'list by customer gateway' 'list by VPN gateway, by status' 'list by tag, by name' 'list by name search, newest first' 'list by name search, by name' 'list of all by name' 'list of all by name search, by status'"
# awk splits the quoted names at their commas too, so the columns are counted from the end.
rows(name) = sprintf("< grep -F '\"%s\"' %s | awk -F, '{print $1\",\"$(NF-3)}'", name, data)
plot 1 title 'goal of get' with lines dt 2 lc rgb '#444444', \
     5 title 'goal up to 10,000 matches' with lines dt 3 lc rgb '#444444', \
     25 title 'goal beyond' with lines dt 4 lc rgb '#444444', \
     rows('get') using 1:2 title 'get' with linespoints lt 1 pt 7 ps 0.7 lw 2, \
     for [n=1:words(lists)] rows(word(lists, n)) using 1:2 title word(lists, n) with linespoints lt (n + 1) pt 7 ps 0.7 lw 2

set output folder . '/throughput.svg'
set title 'Many requests at a time: median of the rounds'
set ylabel 'per second'
set yrange [100:20000]
set ytics ('100' 100, '300' 300, '1,000' 1000, '3,000' 3000, '5,000' 5000, '10,000' 10000, '20,000' 20000)
rates = "'gets' 'creates of connections' 'creates of customer gateways'"
plot 5000 title 'goal of gets' with lines dt 2 lc rgb '#444444', \
     1000 title 'goal of creates' with lines dt 3 lc rgb '#444444', \
     for [n=1:words(rates)] rows(word(rates, n)) using 1:2 title word(rates, n) with linespoints lt n pt 7 ps 0.7 lw 2

set output folder . '/space.svg'
set title 'Memory of the process and size of the database'
set ylabel 'MB'
set yrange [10:1000]
set ytics (10, 30, 100, 300, '1,000' 1000)
plot for [name in "'memory' 'database file'"] rows(name) using 1:2 title name with linespoints pt 7 ps 0.7 lw 2
